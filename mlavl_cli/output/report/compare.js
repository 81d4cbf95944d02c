// Two takes in step: A leads, B follows by the offset.

const data = JSON.parse(document.getElementById("data").textContent);
const [a, b] = data.takes, seats = document.querySelectorAll(".seat"), roots = document.querySelectorAll(".timeline");
const slider = document.querySelector("input[type=range]"), shown = document.querySelector("output");
const said = document.querySelector(".said"), stage = document.querySelector(".stage");
let offset = data.offset_s;

const lineA = new Timeline(roots[0], a, (clip) => go(clip.start_s, true));
const lineB = new Timeline(roots[1], b, (clip) => go(clip.start_s - offset, true));
const playerB = new Player(seats[1], b, () => {});
const playerA = new Player(seats[0], a, (seconds) => {
  lineA.show(seconds);
  lineB.show(seconds + offset);
  lineA.mark(...(playerA.looped || [null, null]));
  lineB.mark(...(playerA.looped ? playerA.looped.map((one) => one + offset) : [null, null]));
  said.textContent = `A: ${lineA.tell(a.clips[lineA.at])}; B: ${lineB.tell(b.clips[lineB.at])}`;
  press("loop", playerA.looped !== null);
  press("slow", playerA.slow);
  button("play").textContent = playerA.video.paused ? "Play" : "Pause";
  follow();
});
playerB.video.muted = true;
playerB.video.controls = false;

function button(name) { return document.querySelector(`[data-do=${name}]`); }
function press(name, on) { button(name).setAttribute("aria-pressed", on); }

// Brings B to where A is: by a seek where it is far off, else a little faster or slower.
function follow() {
  const lead = playerA.video, other = playerB.video, wanted = lead.currentTime + offset;
  const there = wanted >= 0 && !(wanted >= other.duration);
  if (there && !lead.paused && other.paused) playerB.play();
  if ((lead.paused || !there) && !other.paused) other.pause();
  if (other.seeking || !other.readyState) return;
  const late = limited(wanted, 0, other.duration || 0) - other.currentTime;
  if (Math.abs(late) > (lead.paused ? 0.02 : 0.3)) playerB.seek(limited(wanted, 0, other.duration || 0));
  else other.playbackRate = lead.playbackRate * (Math.abs(late) > 0.03 ? limited(1 + late, 0.8, 1.2) : 1);
}

function go(seconds, play) { playerA.go(limited(seconds, 0, playerA.video.duration || lineA.last), play); }

function choose(seconds) {
  go(seconds, true);
  lineA.root.scrollIntoView({ block: "nearest" });
}

function shift(seconds) {
  offset = seconds;
  slider.value = seconds;
  shown.textContent = seconds.toFixed(2) + " s";
  playerA.told(playerA.video.currentTime);
}

function step(count) { go(a.clips[limited(lineA.at + count, 0, a.clips.length - 1)].start_s, false); }

function zoom(scale) { for (const line of [lineA, lineB]) line.zoom(scale); }

const does = {
  "clip-back": () => step(-1), "clip-on": () => step(1),
  "frame-back": () => playerA.frame(-1), "frame-on": () => playerA.frame(1),
  play: () => playerA.toggle(),
  slow: () => { playerA.slow = !playerA.slow; playerA.told(playerA.video.currentTime); },
  loop: () => {
    const clip = a.clips[lineA.at];
    playerA.loop(playerA.looped ? null : [clip.start_s, clip.end_s]);
    if (playerA.looped) go(clip.start_s, true); else playerA.told(playerA.video.currentTime);
  },
  "zoom-in": () => zoom(lineA.scale * 1.5), "zoom-out": () => zoom(lineA.scale / 1.5), whole: () => zoom(1),
};
for (const name of Object.keys(does)) button(name).addEventListener("click", does[name]);
takeKeys({
  " ": does.play, k: does.play, ArrowLeft: does["clip-back"], ArrowRight: does["clip-on"],
  ",": does["frame-back"], ".": does["frame-on"], l: does.loop, h: does.slow,
  "+": does["zoom-in"], "=": does["zoom-in"], "-": does["zoom-out"], 0: does.whole,
});
slider.addEventListener("input", () => shift(Number(slider.value)));
for (const one of document.querySelectorAll("[data-offset]")) {
  one.addEventListener("click", () => shift(Number(one.dataset.offset)));
}
const sound = document.querySelector("[data-sound]");
sound.addEventListener("click", () => {
  playerB.video.muted = !playerB.video.muted;
  playerA.video.muted = !playerB.video.muted;
  sound.setAttribute("aria-pressed", !playerB.video.muted);
});
for (const one of document.querySelectorAll("button[data-start]")) {
  one.addEventListener("click", () => choose(Number(one.dataset.start)));
}
for (const name of ["loadedmetadata", "seeked"]) playerB.video.addEventListener(name, follow);
// A file that is dropped goes to the video it is dropped on, else to the first that lacks one.
takeDrops((file, target) => {
  const seat = target.closest(".seat") || [...seats].find((one) => !one.querySelector(".missing").hidden) || seats[0];
  (seat === seats[1] ? playerB : playerA).take(file);
});
new ResizeObserver(() => { document.documentElement.style.scrollPaddingTop = stage.offsetHeight + 8 + "px"; }).observe(stage);
playerA.told(lineA.first);
