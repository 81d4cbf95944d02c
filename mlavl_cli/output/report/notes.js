// What somebody types on a moment: kept by the browser, and in a file that lies beside the page.

class Notes {
  // root: a .jots; listed: what the page was made with; now(): seconds; go(seconds): shows a moment.
  constructor(root, listed, name, now, go) {
    this.root = root; this.name = name; this.now = now; this.go = go;
    this.key = "mlavl-notes:" + document.querySelector("meta[name=mlavl-video]").content + ":" + location.pathname;
    this.input = root.querySelector("input[type=text]");
    const kept = this.kept();
    // Of the file's notes, those that were there before and have been removed here stay away.
    const same = (a) => (b) => a.time_s === b.time_s && a.text === b.text;
    this.listed = listed;
    this.notes = kept ? kept.notes.concat(listed.filter((one) => !kept.listed.concat(kept.notes).some(same(one)))) : listed.slice();
    root.querySelector("[data-note=add]").addEventListener("click", () => this.add());
    this.input.addEventListener("keydown", (event) => {
      if (event.key === "Enter") this.add();
      if (event.key === "Enter" || event.key === "Escape") this.input.blur();  // the keys are the player's again
    });
    for (const form of ["json", "csv", "vtt"]) {
      root.querySelector(`[data-note=${form}]`).addEventListener("click", () => this.save(form));
    }
    root.querySelector("input[type=file]").addEventListener("change", (event) => this.open(event.target.files[0]));
    this.draw();
  }

  kept() {
    try {
      const found = JSON.parse(localStorage.getItem(this.key));
      return found && Notes.good(found.notes) && Notes.good(found.listed) ? found : null;
    } catch { return null; }
  }

  static good(notes) {
    return Array.isArray(notes) && notes.every((one) => typeof one.time_s === "number" && typeof one.text === "string");
  }

  add() {
    const text = this.input.value.trim();
    if (!text) return;
    this.notes.push({ time_s: Math.round(this.now() * 1000) / 1000, text });
    this.input.value = "";
    this.changed();
  }

  async open(file) {
    try {
      const found = JSON.parse(await file.text());
      if (!Notes.good(found.notes)) throw new Error();
      this.notes = found.notes.map(({ time_s, text }) => ({ time_s, text }));
      this.changed();
    } catch { this.input.value = "this file holds no notes"; }
  }

  changed() {
    try { localStorage.setItem(this.key, JSON.stringify({ notes: this.notes, listed: this.listed })); } catch { /* full */ }
    this.draw();
  }

  draw() {
    this.notes.sort((a, b) => a.time_s - b.time_s);
    this.root.querySelector("ol").replaceChildren(...this.notes.map((note) => {
      const item = document.createElement("li"), at = document.createElement("button"), gone = document.createElement("button");
      at.type = gone.type = "button";
      at.textContent = clock(note.time_s);
      at.addEventListener("click", () => this.go(note.time_s));
      gone.textContent = "Remove";
      gone.addEventListener("click", () => { this.notes.splice(this.notes.indexOf(note), 1); this.changed(); });
      item.append(at, " " + note.text + " ", gone);
      return item;
    }));
  }

  text(form) {
    if (form === "json") return JSON.stringify({ schema: 1, video: this.name, notes: this.notes }, null, 1) + "\n";
    if (form === "csv") {
      // No cell is a formula, wherever a spreadsheet parts cells (as csv_text of files.py).
      const formula = /(^\s*|[;,|]\s*)(["']*\s*(?:[=@\uff1d\uff20\uff0b\uff0d]|[+\-](?!\d+(\.\d+)?($|[;,]))))/g;
      const control = /[\x00-\x1f\x7f-\x9f]/g;
      const cell = (text) => '"' + text.replace(control, " ").replace(formula, "$1'$2").replaceAll('"', '""') + '"';
      return "time_s,time,note\n" + this.notes.map((one) => `${one.time_s},${clock(one.time_s)},${cell(one.text)}\n`).join("");
    }
    const stamp = (s) => new Date(Math.round(s * 1000)).toISOString().slice(11, 23);
    const plain = (text) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll("-->", "--&gt;");
    return "WEBVTT\n\n" + this.notes.map((one) => `${stamp(one.time_s)} --> ${stamp(one.time_s + 4)}\n${plain(one.text)}\n\n`).join("");
  }

  async save(form) {
    let page = location.pathname.split("/").pop().replace(/\.html$/, "");
    try { page = decodeURIComponent(page); } catch { /* a name that is no UTF-8 */ }
    const name = `${page}.notes.${form}`, content = new Blob([this.text(form)], { type: "text/plain" });
    if (form === "json" && window.showSaveFilePicker) {  // asks for the folder; elsewhere it is the downloads'
      try {
        const file = await (await window.showSaveFilePicker({ suggestedName: name })).createWritable();
        await file.write(content);
        await file.close();
        return;
      } catch (problem) { if (problem.name === "AbortError") return; }
    }
    const link = document.createElement("a");
    link.href = URL.createObjectURL(content);
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  }
}
