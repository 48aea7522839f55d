"""Lesson 12: the actor's weights for one call."""

RIGHT = r'''# Exercise
def act_once(engine, state, observation):
    """Act with the learner's actor once, and leave the engine as it was. Return the report and the logits."""
    kept = engine.snapshot()
    report = engine.refit(state, prefix="agent.", select="actor.*")
    logits = engine(observation=observation)["logits"]
    engine.restore(kept)
    return report, logits


def check():
    trial, observation = trtnet.build(graph, provider="reference", refit=True), np.ones((3, 4), np.float32)
    wanted = {name for name in graph.state_dict() if name.startswith("actor.")}
    before = trial(observation=observation)
    try:
        report, logits = act_once(trial, state, observation)
    except trtnet.TrtnetError as error:
        return print(f"Not yet, trtnet says:\n{error}")
    if report is None or logits is None:
        return print("Something is missing: act_once returns no report, or no logits.")
    if set(report.given) != wanted:
        return print(
            f"Not yet: the names in report.given should be the actor's alone.\n"
            f"  too many: {sorted(set(report.given) - wanted)}\n  missing: {sorted(wanted - set(report.given))}"
        )
    x = torch.from_numpy(observation)  # the actor once more, by hand
    for layer in (0, 2, 4):
        x = x @ state[f"agent.actor.{layer}.weight"].T + state[f"agent.actor.{layer}.bias"]
        x = torch.tanh(x) if layer < 4 else x
    if np.shape(logits) != (3, 2) or not np.allclose(logits, x, atol=1e-4):
        return print("Not yet: these logits are not those of the learner's actor. When do you call the engine?")
    after = trial(observation=observation)
    changed = [name for name in before if not np.array_equal(before[name], after[name])]
    if changed:
        return print(f"Not yet: the engine's own {changed} changed. What it had must be kept before it is overwritten.")
    print("Right: six weights for one call, and then the same bits as before.")


check()
'''

WRONG = [
    (RIGHT.replace(', select="actor.*"', ""), "too many: ['critic.0.bias'"),
    (RIGHT.replace('prefix="agent.", select="actor.*"', 'select="actor.*"'), "select matches nothing"),
    (RIGHT.replace("    engine.restore(kept)\n", ""), "the engine's own ['logits'] changed"),
]
