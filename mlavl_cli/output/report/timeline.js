"use strict";
// The video, the lanes below it and every button with a time, held together.
const data = JSON.parse(document.getElementById("data").textContent);
const video = document.querySelector("video");
const lanes = document.querySelector(".lanes");
const playhead = document.querySelector(".playhead");
const said = document.querySelector(".said");
const clips = data.clips, first = clips[0].start_s, last = clips[clips.length - 1].end_s;
let at = 0;

function clock(seconds) {
  const tenths = Math.round(seconds * 10);
  return Math.floor(tenths / 600) + ":" + String(Math.floor(tenths % 600 / 10)).padStart(2, "0") + "." + tenths % 10;
}

function tell(clip) {
  const measured = data.measures.map((one) => {
    const value = clip[one.name];
    return `, ${one.label} ` + (one.judges ? value.toFixed(2) : (100 * value).toFixed(1) + " %");
  });
  return `clip ${clip.index + 1}, ${clock(clip.start_s)} to ${clock(clip.end_s)}` + measured.join("");
}

function clipAt(seconds) {
  let low = 0, high = clips.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (clips[middle].start_s <= seconds) low = middle; else high = middle - 1;
  }
  return low;
}

function show(seconds) {
  at = clipAt(seconds);
  playhead.style.left = 100 * Math.min(Math.max((seconds - first) / (last - first), 0), 1) + "%";
  lanes.setAttribute("aria-valuenow", at + 1);
  lanes.setAttribute("aria-valuetext", tell(clips[at]));
  said.textContent = tell(clips[at]);
}

function seek(seconds) {
  // A hair inside the clip: a player that stops just before its first frame would show the clip before.
  if (video && video.readyState > 0) video.currentTime = seconds + 0.001;
  else if (video) video.addEventListener("loadedmetadata", () => { video.currentTime = seconds + 0.001; }, { once: true });
  show(seconds);
}

function pointed(event) {
  const box = lanes.getBoundingClientRect();
  return first + (event.clientX - box.left) / box.width * (last - first);
}

lanes.addEventListener("click", (event) => seek(clips[clipAt(pointed(event))].start_s));
lanes.addEventListener("pointermove", (event) => { said.textContent = tell(clips[clipAt(pointed(event))]); });
lanes.addEventListener("pointerleave", () => { said.textContent = tell(clips[at]); });
lanes.addEventListener("keydown", (event) => {
  const steps = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1, PageUp: 10, PageDown: -10,
                  Home: -clips.length, End: clips.length };
  if (event.key in steps) {
    seek(clips[Math.min(Math.max(at + steps[event.key], 0), clips.length - 1)].start_s);
    event.preventDefault();
  } else if (video && (event.key === " " || event.key === "Enter")) {
    if (video.paused) video.play(); else video.pause();
    event.preventDefault();
  }
});
for (const button of document.querySelectorAll("button[data-start]")) {
  button.addEventListener("click", () => seek(Number(button.dataset.start)));
}
if (video) {
  let next = 0;
  const follow = () => {
    show(video.currentTime);
    cancelAnimationFrame(next);
    if (!video.paused) next = requestAnimationFrame(follow);
  };
  for (const name of ["play", "seeked", "timeupdate"]) video.addEventListener(name, follow);
  video.addEventListener("error", () => { document.querySelector(".unplayable").hidden = false; });
}
show(first);
