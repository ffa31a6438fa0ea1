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
const COLOURS = { left: "#e69f00", right: "#56b4e9", body: "#ececec" };
const GREEN = "#009e73";
const MOST_CONFIDENCES = 60;

const $ = (id) => document.getElementById(id);
const held = new Set();
const sticks = { forward: 0, turn: 0, look: 0 };
const confidences = new Map();
let socket = null;
let wheel = "free";
let limits = null;
let pictureUrl = null;
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

function showPicture(blob) {
  const url = URL.createObjectURL(blob);
  $("picture").onload = () => {
    if (pictureUrl) URL.revokeObjectURL(pictureUrl);
    pictureUrl = url;
  };
  $("picture").src = url;
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
  $("worlds").textContent = status.worlds.map((name) => `${name} world`).join("   |   ");
  $("picture").classList.toggle("two", status.worlds.length > 1);
  $("message").textContent = status.error || (status.paused ? "paused" : "");
  $("lines").replaceChildren(...status.lines.flatMap(([name, text]) => {
    const [term, detail] = [document.createElement("dt"), document.createElement("dd")];
    [term.textContent, detail.textContent] = [name, text];
    return [term, detail];
  }));
  for (const step of confidences.keys()) if (step > status.step) confidences.delete(step);
  if (status.confidence !== null && status.step > 0) confidences.set(status.step, status.confidence);
  showPlan(status.plan);
  drawFigure(status.figure);
  drawConfidence([...confidences.values()].slice(-MOST_CONFIDENCES));
  drawBars(status.state, status.joint);
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

function drawConfidence(values) {
  const canvas = $("confidence"), pen = canvas.getContext("2d");
  pen.clearRect(0, 0, canvas.width, canvas.height);
  pen.fillStyle = "#969aa0";
  pen.fillText("confidence, nats per token", 6, 12);
  if (!values.length) return;
  const lowest = Math.min(-1, ...values), width = canvas.width - 20, height = canvas.height - 46;
  pen.strokeStyle = GREEN;
  pen.lineWidth = 2;
  pen.beginPath();
  values.forEach((value, index) => {
    pen.lineTo(10 + (width * index) / Math.max(values.length - 1, 1), 24 + (height * value) / lowest);
  });
  pen.stroke();
  pen.fillStyle = "#ececec";
  pen.fillText(values.at(-1).toFixed(2), 8, canvas.height - 6);
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
  const stick = $(id), knob = stick.firstElementChild, reach = 34;
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

for (const [key, action] of Object.entries(PRESSED)) {
  const button = document.createElement("button");
  button.textContent = action;
  button.title = `key: ${key === " " ? "space" : key}`;
  button.onclick = () => { press(action); button.blur(); };
  $("buttons").append(button);
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
$("wheel").onclick = () => { send({ type: "wheel", take: wheel !== "driver" }); $("wheel").blur(); };

connect();
