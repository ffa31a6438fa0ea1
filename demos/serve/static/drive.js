"use strict";

// HELD actions last while their key is down, PRESSED ones happen once. Keys are KeyboardEvent.key in lower case.
const HELD = {
  w: "forward", s: "back", a: "left", d: "right", arrowup: "look up", arrowdown: "look down",
  z: "joint -", x: "joint +", v: "open hand", c: "close hand",
};
const PRESSED = {
  i: "left arm up", o: "right arm up", p: "arms forward", l: "arms down", q: "next limb", e: "next joint",
  "-": "slower", "=": "faster", " ": "pause", ".": "step", backspace: "rewind", enter: "reset", n: "next start",
  m: "reseed", f: "fewer passes", g: "more passes", j: "cooler", k: "hotter", tab: "worlds",
};
// Buttons and their words; those of MORE are behind a click.
const BUTTONS = {
  "left arm up": "left arm up", "right arm up": "right arm up", "arms forward": "arms forward",
  "arms down": "arms down", worlds: "other worlds", rewind: "undo a step", pause: "pause", "next start": "new place",
};
const MORE = {
  step: "one step", reset: "begin again", reseed: "new noise", slower: "drive slower", faster: "drive faster",
  "next limb": "next limb", "next joint": "next joint", "fewer passes": "fewer decoding steps",
  "more passes": "more decoding steps", cooler: "lower temperature", hotter: "higher temperature",
};
const MORE_HELD = { "joint -": "joint down", "joint +": "joint up", "open hand": "open hand", "close hand": "close hand" };
const LABELS = { learned: ["learned world", ": predicted"], reference: ["reference world", ": the truth"] };
const COLOURS = { left: "#e69f00", right: "#56b4e9", body: "#ececec" };
const [GREEN, ORANGE, RED] = ["#009e73", "#e69f00", "#eb6e28"];
const MOST_RISKS = 60;

const $ = (id) => document.getElementById(id);
const held = new Set();
const sticks = { forward: 0, turn: 0, look: 0 };
const risks = new Map();
let socket = null;
let wheel = "free";
let limits = null;
let picture = null;
let waiting = null;
let isDecoding = false;
let delay = 250;

function connect() {
  const scheme = location.protocol === "https:" ? "wss" : "ws";
  socket = new WebSocket(`${scheme}://${location.host}/drive${location.search}`);
  socket.binaryType = "blob";
  socket.onopen = () => { delay = 250; };
  socket.onmessage = (event) => {
    if (event.data instanceof Blob) showPicture(event.data);
    else {
      const message = JSON.parse(event.data);
      if (message.type === "hello") showLimits(message);
      else showStatus(message);
    }
  };
  socket.onclose = (event) => {
    wheel = "free";
    $("wheel").textContent = "Connecting";
    $("wheel").disabled = true;
    $("message").textContent = `not connected${event.reason ? `: ${event.reason}` : ""}; trying again`;
    setTimeout(connect, delay);
    delay = Math.min(2 * delay, 5000);
  };
}

function send(message) {
  if (socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify(message));
}

function sendHold() {
  if (wheel === "driver") send({ type: "hold", actions: [...held], ...sticks });
}

// Held actions are sent when they change, at most 20 times a second, and repeated, because silence stops the robot.
setInterval(sendHold, 250);
let isHoldSent = true;
function holdChanged() {
  if (!isHoldSent) return;
  isHoldSent = false;
  setTimeout(() => {
    isHoldSent = true;
    sendHold();
  }, 50);
}

function press(action) {
  if (wheel === "driver") send({ type: "press", action });
}

// A slow browser skips pictures: while one is decoded, only the newest of the others waits.
async function showPicture(blob) {
  waiting = blob;
  if (isDecoding) return;
  isDecoding = true;
  while (waiting) {
    const next = waiting;
    waiting = null;
    const decoded = await createImageBitmap(next);
    picture?.close();
    picture = decoded;
    drawWorlds();
  }
  isDecoding = false;
}

function drawWorlds() {
  const views = [...$("worlds").children];
  // The number of worlds changes in the picture and in the status at different times.
  if (picture?.width !== picture?.height * views.length) return;
  views.forEach((view, place) => {
    view.firstChild.getContext("2d").drawImage(picture, -picture.height * place, 0);
  });
}

function showWorlds(names) {
  if (names.join() === [...$("worlds").children].map((view) => view.dataset.world).join()) return;
  $("worlds").replaceChildren(...names.map((name) => {
    const [view, canvas, label, kind] = ["div", "canvas", "span", "em"].map((tag) => document.createElement(tag));
    [view.className, view.dataset.world] = [`world ${name}`, name];
    canvas.width = canvas.height = limits.picture;
    kind.textContent = LABELS[name][1];
    label.append(LABELS[name][0], kind);
    view.append(canvas, label);
    return view;
  }));
  for (const part of [$("worlds"), document.querySelector("main")]) part.classList.toggle("two", names.length > 1);
  drawWorlds();
}

function showLimits(message) {
  limits = message;
  $("bars").replaceChildren(...message.names.map((name) => {
    const row = document.createElement("div");
    row.className = "bar";
    row.innerHTML = "<span></span><div><i></i><b></b></div><span></span>";
    row.firstChild.textContent = name.replaceAll("_", " ");
    return row;
  }));
}

function showStatus(status) {
  wheel = status.wheel;
  $("wheel").disabled = wheel === "taken";
  $("wheel").textContent = { driver: "Release the wheel", free: "Take the wheel", taken: "Another viewer drives" }[wheel];
  $("viewers").textContent = `${status.viewers} watching`;
  showWorlds(status.worlds);
  if (wheel === "driver") $("start").hidden = true;
  $("message").textContent = status.error || (status.paused ? "paused" : "");
  showLines($("sentences"), status.sentences);
  showLines($("numbers"), status.numbers);
  for (const step of risks.keys()) if (step > status.step) risks.delete(step);
  if (status.risk !== null && status.step > 0) risks.set(status.step, status.risk);
  showPlan(status.plan);
  drawFigure(status.figure);
  drawRisks([...risks.values()].slice(-MOST_RISKS));
  drawBars(status.state, status.joint);
}

function showLines(list, lines) {
  list.replaceChildren(...lines.flatMap(([name, text]) => {
    const [term, detail] = [document.createElement("dt"), document.createElement("dd")];
    [term.textContent, detail.textContent] = [name, text];
    return [term, detail];
  }));
}

function showPlan(plan) {
  $("plan").hidden = !plan;
  if (!plan) return;
  const [picture, caption] = $("plan").children;
  picture.src = plan.picture;
  caption.replaceChildren(...Object.entries(plan.captions).map(([world, text]) => {
    const line = document.createElement("span");
    [line.className, line.textContent] = [world, text];
    return line;
  }));
}

function drawFigure(views) {
  const canvas = $("figure"), pen = canvas.getContext("2d"), scale = canvas.height / 1.75;
  pen.clearRect(0, 0, canvas.width, canvas.height);
  pen.lineWidth = 3;
  Object.entries(views).forEach(([name, bones], place) => {
    const middle = canvas.width * [0.27, 0.74][place];
    for (const [whose, start, end] of bones) {
      pen.strokeStyle = COLOURS[whose];
      pen.beginPath();
      for (const [x, z] of [start, end]) pen.lineTo(middle + scale * x, canvas.height - 8 - scale * z);
      pen.stroke();
    }
    pen.fillStyle = "#969aa0";
    pen.fillText(name, middle - 12, 12);
  });
}

function drawRisks(values) {
  const canvas = $("risks"), pen = canvas.getContext("2d"), low = canvas.height - 8;
  pen.clearRect(0, 0, canvas.width, canvas.height);
  if (!values.length) return;
  const risk = values.at(-1);
  pen.fillStyle = "#a0a4ac";
  pen.font = "12px system-ui, sans-serif";
  pen.fillText("probability of a wrong picture, so far", 0, 12);
  pen.strokeStyle = "#4a4f59";
  pen.strokeRect(0.5, 20.5, canvas.width - 1, low - 20);
  pen.strokeStyle = risk < 0.2 ? GREEN : risk < 0.5 ? ORANGE : RED;
  pen.lineWidth = 2;
  pen.beginPath();
  values.forEach((value, index) => {
    pen.lineTo(2 + ((canvas.width - 4) * index) / Math.max(values.length - 1, 1), low - 1 - (low - 22) * value);
  });
  pen.stroke();
}

function drawBars(state, joint) {
  if (!limits) return;
  [...$("bars").children].forEach((row, index) => {
    const name = limits.names[index], low = limits.low[index], span = Math.max(limits.high[index] - low, 1e-6);
    const at = (value) => 100 * Math.min(Math.max((value - low) / span, 0), 1);
    const [zero, now] = [at(0), at(state[index])];
    const [bar, mark] = row.children[1].children;
    bar.style.left = `${Math.min(zero, now)}%`;
    bar.style.width = `${Math.abs(now - zero)}%`;
    bar.style.background = COLOURS[name.split("_")[0]] || GREEN;
    mark.style.left = `${zero}%`;
    row.lastChild.textContent = state[index].toFixed(2);
    row.classList.toggle("chosen", name === joint);
  });
}

function makeStick(id, move) {
  const stick = $(id), knob = stick.firstElementChild, reach = 36;
  const set = (x, y) => {
    knob.style.transform = `translate(${x * reach}px, ${y * reach}px)`;
    move(x, y);
    holdChanged();
  };
  stick.onpointerdown = (event) => stick.setPointerCapture(event.pointerId);
  stick.onpointermove = (event) => {
    if (!stick.hasPointerCapture(event.pointerId)) return;
    const box = stick.getBoundingClientRect();
    let x = (event.clientX - box.left - box.width / 2) / reach, y = (event.clientY - box.top - box.height / 2) / reach;
    const length = Math.max(1, Math.hypot(x, y));
    set(x / length, y / length);
  };
  stick.onpointerup = stick.onpointercancel = () => set(0, 0);
}

makeStick("drive-stick", (x, y) => { sticks.forward = -y; sticks.turn = -x; });
makeStick("look-stick", (x, y) => { sticks.look = y; });

function makeButton(place, text, action) {
  const button = document.createElement("button"), [key] = Object.entries({ ...HELD, ...PRESSED }).find((pair) => pair[1] === action);
  button.textContent = text;
  button.title = `key: ${key === " " ? "space" : key}`;
  $(place).append(button);
  return button;
}

for (const [place, buttons] of [["buttons", BUTTONS], ["more-buttons", MORE]]) {
  for (const [action, text] of Object.entries(buttons)) {
    const button = makeButton(place, text, action);
    button.onclick = () => { press(action); button.blur(); };
  }
}
for (const [action, text] of Object.entries(MORE_HELD)) {
  const button = makeButton("more-buttons", text, action);
  button.onpointerdown = (event) => { button.setPointerCapture(event.pointerId); held.add(action); holdChanged(); };
  button.onpointerup = button.onpointercancel = () => { held.delete(action); holdChanged(); };
}

addEventListener("keydown", (event) => {
  const key = event.key.toLowerCase();
  if (event.ctrlKey || event.metaKey || event.altKey || !(key in HELD || key in PRESSED)) return;
  if (wheel !== "driver") return;
  event.preventDefault();
  if (key in HELD) { held.add(HELD[key]); holdChanged(); } else if (!event.repeat) press(PRESSED[key]);
});
addEventListener("keyup", (event) => {
  if (held.delete(HELD[event.key.toLowerCase()])) holdChanged();
});
addEventListener("blur", () => { held.clear(); holdChanged(); });
$("watch").onclick = () => { $("start").hidden = true; };
$("wheel").onclick = () => { send({ type: "wheel", take: wheel !== "driver" }); $("wheel").blur(); };

$("robot").open = matchMedia("(min-width: 760px) and (min-height: 501px)").matches;
connect();
