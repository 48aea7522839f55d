"""Lesson 12: the actor's weights for one call."""

RIGHT = r'''def act_once(engine, state, observation):
    """Act with the learner's actor once, and leave the engine as it was. Return the report and the logits."""
    kept = engine.snapshot()
    report = engine.refit(state, prefix="agent.", select="actor.*")
    logits = engine(observation=observation)["logits"]
    engine.restore(kept)
    return report, logits
'''

WRONG = [
    (RIGHT.replace(', select="actor.*"', ""), "too many: ['critic.0.bias'"),
    (RIGHT.replace('prefix="agent.", select="actor.*"', 'select="actor.*"'), "select matches nothing"),
    (RIGHT.replace('(observation=observation)["logits"]', "(observation=observation)"), "['logits', 'value']. Which"),
    (RIGHT.replace("return report, logits", "return logits"), "act_once returns two things"),
    (RIGHT.replace("    engine.restore(kept)\n", ""), "the engine's own ['logits'] changed"),
]
