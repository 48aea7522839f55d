// A picture of `drawing.py` as nested boxes that open and close; dagre lays out those that are shown.
const FIRST = 80, MOST = 500; // boxes that are shown at first, and at most
const LINE = 15, PAD = 8;
const { frames, boxes, arrows } = picture;
const svg = document.querySelector("svg"), main = document.querySelector("main");
const measure = document.createElement("canvas").getContext("2d");
const open = new Set();
let zoom = 1, size = { width: 1, height: 1 };

const chain = (frame) => { // a frame and those around it, the outermost first
  const found = [];
  for (; frame >= 0; frame = frames[frame].parent) found.unshift(frame);
  return found;
};
const chains = boxes.map((box) => chain(box.frame));
const inside = frames.map(() => 0);
for (const one of chains) for (const frame of one) inside[frame]++;
const children = frames.map(() => []);
frames.forEach((frame, number) => { if (frame.parent >= 0) children[frame.parent].push(number); });

const shownAs = (box) => { // the outermost closed frame around a box, or the box
  const closed = chains[box].find((frame) => !open.has(frame));
  return closed === undefined ? "b" + box : "f" + closed;
};
const own = frames.map(() => 0);
for (const box of boxes) if (box.frame >= 0) own[box.frame]++;
const shownBy = (frame) => children[frame].length + own[frame] - 1; // how many boxes more there are when it is opened

function openMore(most, evenly) { // from the outside in, while at most so many are shown; evenly: all of a depth or none
  let count = new Set(boxes.map((_, number) => shownAs(number))).size, opened = 0;
  for (;;) {
    const next = frames.map((_, number) => number).filter((one) => !open.has(one) && chain(one).slice(0, -1).every((out) => open.has(out)));
    const all = next.reduce((sum, one) => sum + shownBy(one), count);
    if (!next.length || (all > most && (evenly || opened))) return opened;
    for (const one of next) {
      if (count + shownBy(one) <= most) { open.add(one); count += shownBy(one); opened++; }
    }
    if (all > most) return opened;
  }
}

function width(text, font = "12px Helvetica, Arial, sans-serif") {
  measure.font = font;
  return measure.measureText(text).width;
}

function laidOut() {
  const graph = new dagre.graphlib.Graph({ compound: true, multigraph: true });
  graph.setGraph({ nodesep: 14, edgesep: 8, ranksep: 34, marginx: 8, marginy: 8 });
  boxes.forEach((box, number) => {
    const name = shownAs(number), frame = name[0] === "f" ? Number(name.slice(1)) : box.frame;
    if (!graph.hasNode(name)) {
      const closed = name[0] === "f" ? frames[frame] : null;
      const lines = closed ? ["+ " + closed.label[0], ...closed.label.slice(1), inside[frame] + (inside[frame] === 1 ? " layer" : " layers")] : box.label;
      const around = closed ? closed.parent : frame;
      const least = around < 0 ? 0 : Math.min(180, width("− " + frames[around].label[0], "bold 12px Helvetica, Arial, sans-serif")); // its name has room
      graph.setNode(name, { lines, width: Math.max(least, ...lines.map((line) => width(line))) * 1.06 + 2 * PAD, height: lines.length * LINE + PAD, box: closed ? null : box, frame: closed ? frame : -1 });
      let parent = closed ? closed.parent : frame, child = name;
      for (; parent >= 0; parent = frames[parent].parent) {
        const known = graph.hasNode("f" + parent);
        if (!known) graph.setNode("f" + parent, { frame: parent, opened: true });
        graph.setParent(child, "f" + parent);
        if (known) break;
        child = "f" + parent;
      }
    }
  });
  const labels = new Map();
  for (const [from, to, text, back] of arrows) {
    const a = shownAs(from), b = shownAs(to);
    if (a === b) continue;
    const key = JSON.stringify(back ? [b, a, true] : [a, b, false]); // an arrow that leads back does not pull its end up
    if (!labels.has(key)) labels.set(key, new Set());
    labels.get(key).add(text);
  }
  for (const [key, texts] of labels) {
    const [from, to, back] = JSON.parse(key), text = texts.size > 1 ? texts.size + " tensors" : [...texts][0];
    graph.setEdge(from, to, { text, all: [...texts].join("\n"), back, width: width(text, "10px Helvetica, Arial, sans-serif") * 1.06, height: 12, labelpos: "c" }, back ? "back" : "on");
  }
  dagre.layout(graph);
  return graph;
}

function make(tag, attributes, parent, text) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (text !== undefined) made.textContent = text;
  parent.append(made);
  return made;
}

function cut(text, room) {
  if (width(text, "bold 12px Helvetica, Arial, sans-serif") <= room) return text;
  let end = text.length;
  while (end > 1 && width(text.slice(0, end) + "…", "bold 12px Helvetica, Arial, sans-serif") > room) end--;
  return text.slice(0, end) + "…";
}

function toggled(group, frame) {
  group.classList.add("toggle");
  group.setAttribute("tabindex", "0");
  group.setAttribute("role", "button");
  group.setAttribute("aria-expanded", String(open.has(frame)));
  group.setAttribute("data-frame", frame);
  const act = (event) => { event.stopPropagation(); toggle(frame); };
  group.addEventListener("click", act);
  group.addEventListener("keydown", (event) => { if (event.key === "Enter") act(event); });
}

function draw() {
  const graph = laidOut();
  size = { width: graph.graph().width || 1, height: graph.graph().height || 1 };
  svg.replaceChildren();
  svg.setAttribute("viewBox", `0 0 ${size.width} ${size.height}`);
  const marker = make("marker", { id: "end", viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 7, markerHeight: 7, orient: "auto-start-reverse" }, make("defs", {}, svg));
  make("path", { d: "M0,0L8,4L0,8z", fill: "#777" }, marker);
  const opened = graph.nodes().filter((name) => graph.node(name).opened);
  opened.sort((a, b) => chain(graph.node(a).frame).length - chain(graph.node(b).frame).length);
  for (const name of opened) {
    const at = graph.node(name), frame = frames[at.frame], left = at.x - at.width / 2, top = at.y - at.height / 2;
    const group = make("g", { class: "frame" }, svg);
    make("rect", { x: left, y: top, width: at.width, height: at.height, rx: 6, fill: frame.color }, group);
    make("text", { x: left + 7, y: top + 14, class: "title" }, group, cut("− " + frame.label.join(" · "), at.width - 12));
    make("title", {}, group, frame.label.join("\n"));
    toggled(group, at.frame);
  }
  for (const edge of graph.edges()) {
    const at = graph.edge(edge), points = at.points;
    const group = make("g", { class: at.back ? "arrow back" : "arrow" }, svg);
    const line = points.map((p, i) => (i ? "L" : "M") + p.x.toFixed(1) + "," + p.y.toFixed(1)).join("");
    make("path", { d: line, [at.back ? "marker-start" : "marker-end"]: "url(#end)" }, group);
    make("text", { x: at.x, y: at.y + 3, "text-anchor": "middle" }, group, at.text);
    make("title", {}, group, at.all);
  }
  for (const name of graph.nodes()) {
    const at = graph.node(name);
    if (at.opened) continue;
    const closed = at.frame >= 0 ? frames[at.frame] : null, left = at.x - at.width / 2, top = at.y - at.height / 2;
    const group = make("g", { class: closed ? "box module" : at.box.absent ? "box absent" : "box" }, svg);
    make("rect", { x: left, y: top, width: at.width, height: at.height, rx: 5, fill: closed ? closed.closed ?? closed.color : at.box.color }, group);
    at.lines.forEach((line, i) => make("text", { x: at.x, y: top + PAD / 2 + 11 + i * LINE, "text-anchor": "middle", class: i ? "" : "title" }, group, line));
    if (closed) toggled(group, at.frame);
  }
  scaled();
}

function scaled() {
  svg.setAttribute("width", size.width * zoom);
  svg.setAttribute("height", size.height * zoom);
}

const placeOf = (frame) => {
  const found = svg.querySelector(`[data-frame="${frame}"]`);
  return found ? found.getBoundingClientRect() : null;
};

function toggle(frame) {
  const before = placeOf(frame), opening = !open.has(frame);
  if (opening) open.add(frame); else open.delete(frame);
  const count = new Set(boxes.map((_, number) => shownAs(number))).size;
  if (opening && count > MOST) {
    open.delete(frame);
    return say(`${count} boxes would be shown, and ${MOST} are the most: close some first`);
  }
  say("");
  draw();
  const after = placeOf(frame);
  if (before && after) { main.scrollTop += after.top - before.top; main.scrollLeft += after.left - before.left; }
}

function say(text) { document.getElementById("note").textContent = text; }

function scale(to, x = main.clientWidth / 2, y = main.clientHeight / 2) {
  const by = Math.min(4, Math.max(0.05, to)) / zoom;
  zoom *= by;
  scaled();
  main.scrollLeft = (main.scrollLeft + x) * by - x;
  main.scrollTop = (main.scrollTop + y) * by - y;
}

document.getElementById("title").textContent = picture.title;
for (const [color, text] of picture.legend) {
  const one = document.createElement("span"), swatch = document.createElement("i");
  swatch.style.background = color;
  one.style.marginRight = "10px";
  one.append(swatch, text);
  document.getElementById("legend").append(one);
}
document.getElementById("open").onclick = () => {
  const shown = new Set(boxes.map((_, number) => shownAs(number))).size;
  const opened = openMore(Math.min(MOST, Math.max(FIRST, 3 * shown)), false);
  say(opened ? "" : open.size === frames.length ? "all is open" : `${MOST} boxes are shown at most: open modules one by one`);
  if (opened) draw();
};
document.getElementById("close").onclick = () => { open.clear(); say(""); draw(); };
document.getElementById("out").onclick = () => scale(zoom / 1.25);
document.getElementById("in").onclick = () => scale(zoom * 1.25);
document.getElementById("fit").onclick = () => scale(Math.min((main.clientWidth - 20) / size.width, (main.clientHeight - 20) / size.height));
main.addEventListener("wheel", (event) => {
  if (!event.ctrlKey) return;
  event.preventDefault();
  const at = main.getBoundingClientRect();
  scale(zoom * Math.exp(-event.deltaY / 300), event.clientX - at.left, event.clientY - at.top);
}, { passive: false });
openMore(FIRST, true);
draw();
if (size.width > main.clientWidth - 20) scale(Math.max(0.5, (main.clientWidth - 20) / size.width), 0, 0);
const first = svg.querySelector(".box");
if (first) main.scrollLeft += first.getBoundingClientRect().x - main.clientWidth / 2;
