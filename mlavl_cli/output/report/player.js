// A video that plays, loops, goes frame by frame, and asks for its file where it was moved.

class Player {
  // seat: what holds a video; known: fps of its frames, duration_s; told(seconds): called as it plays or is sought.
  constructor(seat, known, told) {
    this.video = seat.querySelector("video"); this.missing = seat.querySelector(".missing");
    this.fps = known.fps; this.told = told; this.looped = null; this.wanted = 0; this.pending = null;
    let next = 0;
    const follow = () => {
      if (this.looped && this.video.currentTime >= this.looped[1]) this.seek(this.looped[0] + 0.001);
      if (!this.video.seeking && this.pending === null) this.told(this.video.currentTime);
      cancelAnimationFrame(next);
      if (!this.video.paused) next = requestAnimationFrame(follow);
    };
    for (const name of ["play", "pause", "seeked", "timeupdate"]) this.video.addEventListener(name, follow);
    this.video.addEventListener("seeked", () => this.sought());
    this.video.addEventListener("loadedmetadata", () => {
      const other = seat.querySelector(".other"), seconds = this.video.duration;
      // A linked file may have been replaced since; its sound may end a little later than its picture.
      other.hidden = !(Math.abs(seconds - known.duration_s) > (this.url ? 0.5 : 1));
      other.textContent = `This file lasts ${clock(seconds)}, the one that was scored ${clock(known.duration_s)}: is it another?`;
    });
    const missed = () => { this.missing.hidden = false; };
    if (this.video.error) missed();
    this.video.addEventListener("error", missed);
    this.missing.querySelector("input").addEventListener("change", (event) => this.take(event.target.files[0]));
  }

  // Plays this file from now on.
  take(file) {
    if (!file) return;
    const url = URL.createObjectURL(file);
    if (this.url) URL.revokeObjectURL(this.url);
    this.url = url;
    this.missing.hidden = true;
    this.video.src = url;
    this.go(this.wanted, false);
  }

  go(seconds, play) {
    // A hair inside the clip: a player that stops just before its first frame would show the clip before.
    const target = this.wanted = Math.max(0, seconds + 0.001);
    const seek = () => { if (target === this.wanted) this.seek(target); };
    if (this.looped && (seconds < this.looped[0] || seconds >= this.looped[1])) this.loop(null);
    if (this.video.readyState > 0) seek();
    else this.video.addEventListener("loadedmetadata", seek, { once: true });
    if (play) this.play();
    this.told(target);
  }

  // One after the other: Chromium may stand still where one seek overtakes another.
  seek(seconds) {
    if (this.video.seeking) this.pending = seconds; else this.video.currentTime = seconds;
  }

  sought() {
    const next = this.pending;
    this.pending = null;
    if (next !== null) this.video.currentTime = next;
  }

  play() { Promise.resolve(this.video.play()).catch(() => {}); }

  toggle() { if (this.video.paused) this.play(); else this.video.pause(); }

  frame(step) {
    this.video.pause();
    const frame = Math.floor(this.video.currentTime * this.fps + 1e-3) + step;
    this.go(Math.max(0, (frame + 0.5) / this.fps - 0.001), false);
  }

  get slow() { return this.video.playbackRate < 1; }

  set slow(wanted) { this.video.playbackRate = wanted ? 0.5 : 1; }

  // span: [from, to] in seconds, or null.
  loop(span) { this.looped = span; }
}

// A file that is dropped on the page goes to whoever takes it; the page itself stays.
function takeDrops(take) {
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    for (const file of event.dataTransfer.files) take(file, event.target);
  });
}

// What was pressed by the mouse gives the keys back.
document.addEventListener("click", (event) => {
  const pressed = event.target.closest("button, summary");
  if (event.detail && pressed) pressed.blur();
});

// Keys, wherever the focus is but where words are typed or a button is pressed.
function takeKeys(keys) {
  document.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey || event.target.closest("input, textarea, select")) return;
    if ((event.key === " " || event.key === "Enter") && event.target.closest("button, a, summary, label")) return;
    const does = keys[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!does || does(event) === false) return;
    event.preventDefault();
  }, true);
}
