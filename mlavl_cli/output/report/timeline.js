"use strict";
// The lanes of one routine: where a pointer is, what is there, and how much of it is in the window.

function clock(seconds) {
  const tenths = Math.round(seconds * 10), minutes = Math.floor(tenths / 600);
  const lead = minutes < 60 ? minutes : Math.floor(minutes / 60) + ":" + String(minutes % 60).padStart(2, "0");
  return lead + ":" + String(Math.floor(tenths % 600 / 10)).padStart(2, "0") + "." + tenths % 10;
}

function clipAt(clips, seconds) {
  let low = 0, high = clips.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (clips[middle].start_s <= seconds) low = middle; else high = middle - 1;
  }
  return low;
}

function limited(value, low, high) { return Math.min(Math.max(value, low), high); }

class Timeline {
  static STEPS = [0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600];

  // root: a .timeline; data: clips, measures, pictures; choose(clip): called where somebody clicks.
  constructor(root, data, choose) {
    this.root = root; this.clips = data.clips; this.measures = data.measures; this.pictures = data.pictures;
    this.first = this.clips[0].start_s; this.last = this.clips[this.clips.length - 1].end_s;
    for (const name of ["window", "lanes", "ticks", "playhead", "hover", "loop", "strip"]) {
      this[name] = root.querySelector("." + name);
    }
    this.known = Object.keys(this.pictures).map(Number).sort((a, b) => a - b);
    this.scale = 1; this.at = 0;
    this.lanes.addEventListener("click", (event) => choose(this.clips[this.pointed(event)]));
    this.lanes.addEventListener("pointermove", (event) => this.glance(event));
    this.lanes.addEventListener("pointerleave", () => { this.hover.hidden = true; });
    this.window.addEventListener("wheel", (event) => {
      if (!event.ctrlKey) return;  // as two fingers on a trackpad say it
      event.preventDefault();
      this.zoom(this.scale * Math.exp(-event.deltaY / 100), event.clientX);
    }, { passive: false });
    this.pinch();
    new ResizeObserver(() => this.draw()).observe(this.window);
    this.draw();
    this.show(this.first);
  }

  pinch() {
    let apart = 0, scale = 1;
    const gap = (touches) => Math.abs(touches[0].clientX - touches[1].clientX) || 1;
    this.window.addEventListener("touchstart", (event) => {
      if (event.touches.length === 2) { apart = gap(event.touches); scale = this.scale; }
    }, { passive: true });
    this.window.addEventListener("touchmove", (event) => {
      if (event.touches.length !== 2) return;
      event.preventDefault();
      this.zoom(scale * gap(event.touches) / apart, (event.touches[0].clientX + event.touches[1].clientX) / 2);
    }, { passive: false });
  }

  time(event) {
    const box = this.lanes.getBoundingClientRect();
    return this.first + (event.clientX - box.left) / box.width * (this.last - this.first);
  }

  pointed(event) { return clipAt(this.clips, this.time(event)); }

  share(seconds) { return limited((seconds - this.first) / (this.last - this.first), 0, 1); }

  tell(clip) {
    const measured = this.measures.map((one) => {
      const value = clip[one.name];
      return `, ${one.label} ` + (one.judges ? value.toFixed(2) : (100 * value).toFixed(1) + " %");
    });
    return `clip ${clip.index + 1}, ${clock(clip.start_s)} to ${clock(clip.end_s)}` + measured.join("");
  }

  nearest(index) {
    return this.known.length ? this.known.reduce((a, b) => Math.abs(b - index) < Math.abs(a - index) ? b : a) : null;
  }

  glance(event) {
    const clip = this.clips[this.pointed(event)], picture = this.hover.querySelector("img");
    const near = this.nearest(clip.index);
    picture.hidden = near === null;
    if (near !== null) picture.src = this.pictures[near];
    this.hover.querySelector("span").textContent = this.tell(clip);
    this.hover.hidden = false;
    const box = this.root.getBoundingClientRect(), half = this.hover.offsetWidth / 2;
    this.hover.style.left = limited(event.clientX - box.left, half, Math.max(half, box.width - half)) + "px";
  }

  // Puts the playhead there, and the part of the lanes around it into the window.
  show(seconds) {
    this.at = clipAt(this.clips, seconds);
    const share = this.share(seconds);
    this.playhead.style.left = 100 * share + "%";
    this.lanes.setAttribute("aria-valuenow", this.at + 1);
    this.lanes.setAttribute("aria-valuetext", this.tell(this.clips[this.at]));
    const x = share * this.lanes.offsetWidth, left = this.window.scrollLeft, wide = this.window.clientWidth;
    if (this.scale > 1 && (x < left || x > left + wide)) this.window.scrollLeft = x - wide / 10;
  }

  mark(from, to) {
    this.loop.hidden = from === null;
    if (from === null) return;
    this.loop.style.left = 100 * this.share(from) + "%";
    this.loop.style.width = 100 * (this.share(to) - this.share(from)) + "%";
  }

  // scale: 1 shows the whole routine; x: what stays where it is, in pixels of the screen.
  zoom(scale, x = null) {
    const box = this.window.getBoundingClientRect();
    const most = Math.max(4, this.clips.length * 160 / box.width);
    const anchor = x === null ? this.share(this.clips[this.at].start_s) * this.lanes.offsetWidth - this.window.scrollLeft
                              : x - box.left;
    const share = (this.window.scrollLeft + anchor) / this.lanes.offsetWidth;
    this.scale = limited(scale, 1, most);
    this.lanes.style.width = 100 * this.scale + "%";
    this.window.scrollLeft = share * this.lanes.offsetWidth - limited(anchor, 0, box.width);
    this.draw();
  }

  draw() {
    const wide = this.lanes.offsetWidth, span = this.last - this.first;
    const step = Timeline.STEPS.find((one) => one / span * wide >= 64) || 7200;
    const ticks = [];
    for (let i = Math.ceil(this.first / step); i * step <= this.last; i += 1) {
      const tick = document.createElement("span");
      tick.textContent = step < 1 ? clock(i * step) : clock(i * step).slice(0, -2);
      tick.style.left = 100 * this.share(i * step) + "%";
      ticks.push(tick);
    }
    this.ticks.replaceChildren(...ticks);
    if (!this.strip) return;
    const count = Math.max(1, Math.min(this.known.length, Math.floor(wide / 90)));
    const images = Array.from({ length: count }, (_, i) => {
      const image = document.createElement("img");
      image.alt = "";
      const index = clipAt(this.clips, this.first + (i + 0.5) / count * span);
      image.src = this.pictures[this.nearest(index)];
      return image;
    });
    this.strip.replaceChildren(...images);
  }
}
