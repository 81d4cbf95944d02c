// The page of one routine: its video, its timeline, its moments and its notes, held together.

const data = JSON.parse(document.getElementById("data").textContent);
const clips = data.clips, stage = document.querySelector(".stage"), said = document.querySelector(".said");
const timeline = new Timeline(document.querySelector(".timeline"), data, (clip) => player.go(clip.start_s, true));
const player = new Player(document.querySelector(".seat"), data, (seconds) => {
  timeline.show(seconds);
  timeline.mark(...(player.looped || [null, null]));
  said.textContent = timeline.tell(clips[timeline.at]);
  press("loop", player.looped !== null);
  press("slow", player.slow);
  button("play").textContent = player.video.paused ? "Play" : "Pause";
});
const notes = new Notes(document.querySelector(".jots"), data.notes, data.name,
  () => player.video.currentTime || player.wanted, (seconds) => choose(seconds));

function button(name) { return document.querySelector(`[data-do=${name}]`); }
function press(name, on) { button(name).setAttribute("aria-pressed", on); }

// Plays from there, with the timeline in sight below the player.
function choose(seconds) {
  player.go(seconds, true);
  timeline.root.scrollIntoView({ block: "nearest" });
}

function step(count) {
  const at = clips[limited(timeline.at + count, 0, clips.length - 1)];
  player.go(at.start_s, false);
}

function loop(span) {
  player.loop(span);
  if (span) choose(span[0]); else player.told(player.video.currentTime);
}

function slow() {
  player.slow = !player.slow;
  player.told(player.video.currentTime);
}

// The next of the moments below a heading, after where the video is.
function moment(list) {
  const starts = [...list.querySelectorAll("button[data-start]:not([data-loop])")].map((one) => Number(one.dataset.start));
  if (starts.length) choose(starts.find((start) => start > clips[timeline.at].start_s + 0.01) ?? starts[0]);
}

// What is scrolled to isn't to lie below the player.
new ResizeObserver(() => { document.documentElement.style.scrollPaddingTop = stage.offsetHeight + 8 + "px"; }).observe(stage);

const does = {
  "clip-back": () => step(-1), "clip-on": () => step(1),
  "frame-back": () => player.frame(-1), "frame-on": () => player.frame(1),
  play: () => player.toggle(), slow,
  loop: () => { const at = clips[timeline.at]; loop(player.looped ? null : [at.start_s, at.end_s]); },
  "zoom-in": () => timeline.zoom(timeline.scale * 1.5), "zoom-out": () => timeline.zoom(timeline.scale / 1.5),
  whole: () => timeline.zoom(1),
};
for (const name of Object.keys(does)) button(name).addEventListener("click", does[name]);

const [weakest, strongest] = document.querySelectorAll(".moments");
const focused = (act) => () => document.activeElement === timeline.lanes ? act() : false;
takeKeys({
  " ": does.play, k: does.play, Enter: focused(does.play),
  ArrowLeft: () => step(-1), ArrowRight: () => step(1),
  ArrowUp: focused(() => step(1)), ArrowDown: focused(() => step(-1)),
  PageUp: focused(() => step(10)), PageDown: focused(() => step(-10)),
  Home: focused(() => step(-clips.length)), End: focused(() => step(clips.length)),
  ",": does["frame-back"], ".": does["frame-on"], l: does.loop, h: slow,
  "+": does["zoom-in"], "=": does["zoom-in"], "-": does["zoom-out"], 0: does.whole,
  w: () => weakest && moment(weakest), s: () => strongest && moment(strongest),
  n: () => notes.input.focus(),
});
for (const one of document.querySelectorAll("button[data-start]")) {
  one.addEventListener("click", () => {
    const start = Number(one.dataset.start);
    if ("loop" in one.dataset) loop([start, Number(one.dataset.end)]); else choose(start);
  });
}
takeDrops((file) => { if (/\.json$/i.test(file.name)) notes.open(file); else player.take(file); });
player.told(timeline.first);
