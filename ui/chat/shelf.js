// The conversations that this browser keeps, and their list. Heads and bodies lie apart, so that the list is read
// without the pictures. Each conversation is a row of its own: pages that are open beside each other do not write over
// one another's. One that both go on with becomes two.
const CURRENT = "queuechat.current"; // of this page: what a reload shows again
const LET_GO = "queuechat.let-go";
const NARROW = "(max-width: 1000px)";

const done = (request) =>
  new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });

const openStore = () => {
  const asked = indexedDB.open("queuechat", 1);
  asked.onupgradeneeded = () => {
    for (const name of ["heads", "bodies"]) asked.result.createObjectStore(name, { keyPath: "id" });
  };
  return done(asked);
};

// crypto.randomUUID is for secure contexts only, and a page on a local network is none.
const newId = () => Array.from(crypto.getRandomValues(new Uint8Array(12)), (byte) => byte.toString(16).padStart(2, "0")).join("");

const titleOf = ({ question, files, images }) => {
  const words = question.trim() || files?.[0]?.name || (images?.length ? "An image" : "Empty");
  return words.split("\n")[0].slice(0, 80);
};

const node = (tag, name, text, press) => {
  const made = Object.assign(document.createElement(tag), { className: name, textContent: text });
  if (press) made.addEventListener("click", press);
  if (tag === "button") made.type = "button";
  return made;
};

const download = (name, kind, text) => {
  const link = node("a", "", "");
  link.href = URL.createObjectURL(new Blob([text], { type: kind }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
};

class Shelf {
  constructor() {
    this.fresh();
    this.wanted = sessionStorage.getItem(CURRENT);
    this.trouble = "";
    this.saving = Promise.resolve();
    this.store = openStore().catch((error) => this.tell(error));
    this.others = new BroadcastChannel("queuechat");
    this.others.onmessage = () => this.draw();
  }

  attach(here) {
    const before = this.here;
    Object.assign(this, { here, limits: { count: here.props.keep_count, size: here.props.keep_size } });
    here.watch("value", () => this.keep(here.props.value.exchanges));
    // What is set while a component is still being made is lost.
    if (before) setTimeout(() => (here.props.value = before.props.value));
    else setTimeout(() => this.arrive().then((value) => value.exchanges.length && here.arrived()));
    this.adopt(window.queuechatOld);
    this.draw();
  }

  fresh() {
    Object.assign(this, { id: newId(), rev: 0, text: "[]" });
  }

  tell(error) {
    this.trouble = `This browser keeps no conversations (${error?.name ?? error}): they are gone with this page.`;
    if (this.here) this.draw();
    return null;
  }

  async within(mode, work) {
    const store = await this.store;
    if (!store) return null;
    const rows = store.transaction(["heads", "bodies"], mode);
    const ended = new Promise((resolve, reject) => {
      rows.oncomplete = resolve;
      rows.onabort = rows.onerror = () => reject(rows.error);
    });
    const result = await work(rows.objectStore("heads"), rows.objectStore("bodies"));
    await ended;
    return result;
  }

  // -- what the server has made of the conversation --------------------------------------------------------------

  keep(exchanges) {
    const text = JSON.stringify(exchanges ?? []);
    if (text === this.text || text === "[]") return;
    this.text = text;
    this.saving = this.saving.then(() => this.save(text, titleOf(exchanges[0]))).catch((error) => this.tell(error));
  }

  async save(text, title) {
    await this.within("readwrite", async (heads, bodies) => {
      const stored = await done(heads.get(this.id));
      if (stored && stored.rev !== this.rev) Object.assign(this, { id: newId(), rev: 0 });
      this.rev += 1;
      heads.put({ id: this.id, rev: this.rev, title, changed: Date.now(), size: text.length });
      bodies.put({ id: this.id, text });
      await this.makeRoom(heads, bodies);
    });
    sessionStorage.setItem(CURRENT, this.id);
    this.changed();
  }

  async makeRoom(heads, bodies) {
    const { count, size } = this.limits;
    const rows = (await done(heads.getAll())).sort((a, b) => a.changed - b.changed);
    let held = rows.reduce((sum, row) => sum + row.size, 0);
    let number = rows.length;
    let gone = 0;
    for (const row of rows) {
      if ((number <= count && held <= size) || row.id === this.id) break;
      heads.delete(row.id);
      bodies.delete(row.id);
      held -= row.size;
      number -= 1;
      gone += 1;
    }
    if (gone) localStorage.setItem(LET_GO, Number(localStorage.getItem(LET_GO) ?? 0) + gone);
  }

  // What the page kept before it kept more than one.
  adopt(old) {
    if (!old?.length || !this.here) return;
    window.queuechatOld = null;
    const text = JSON.stringify(old);
    const row = { id: newId(), rev: 1, title: titleOf(old[0]), changed: Date.now(), size: text.length };
    this.within("readwrite", async (heads, bodies) => {
      heads.put(row);
      bodies.put({ id: row.id, text });
    }).then(() => {
      localStorage.removeItem("queuechat.conversation");
      this.changed();
    }, (error) => this.tell(error));
  }

  // -- from one conversation to another --------------------------------------------------------------------------

  // The server ends what is being written, then asks `arrive` for what is to be shown.
  go(id) {
    this.wanted = id;
    if (matchMedia(NARROW).matches) document.querySelector("#qc-chat").classList.remove("flip");
    this.here.leave();
  }

  async arrive() {
    await this.saving;
    const id = this.wanted;
    const [head, body] = (id && (await this.within("readonly", (heads, bodies) => Promise.all([done(heads.get(id)), done(bodies.get(id))])))) || [];
    if (head && body) Object.assign(this, { id, rev: head.rev, text: body.text });
    else this.fresh();
    if (head && body) sessionStorage.setItem(CURRENT, id);
    else sessionStorage.removeItem(CURRENT);
    const value = { id: this.id, exchanges: JSON.parse(this.text) };
    this.here.props.value = value;
    this.draw();
    return value;
  }

  async drop(id) {
    await this.saving;
    await this.within("readwrite", async (heads, bodies) => {
      heads.delete(id);
      bodies.delete(id);
    });
    if (id === this.id) this.go(null);
    this.changed();
  }

  changed() {
    this.others.postMessage("changed");
    this.draw();
  }

  // -- what is seen of it ----------------------------------------------------------------------------------------

  async draw() {
    const rows = (await this.within("readonly", (heads) => done(heads.getAll())).catch(() => null)) ?? [];
    const list = node("div", "qc-shelf-list", "");
    for (const row of rows.sort((a, b) => b.changed - a.changed)) list.append(this.row(row));
    const top = node("button", "qc-shelf-new", "New chat", () => this.go(null));
    const parts = [top, list, ...this.notes(), ...(this.text === "[]" ? [] : [this.exports()])];
    this.here.element.querySelector(".qc-shelf").replaceChildren(...parts);
  }

  row({ id, title }) {
    const row = node("div", `qc-kept${id === this.id ? " current" : ""}`, "");
    const pick = node("button", "qc-kept-pick", title, () => this.go(id));
    pick.title = title;
    const drop = node("button", "qc-kept-drop", "×", () => this.drop(id));
    drop.setAttribute("aria-label", `Delete ${title}`);
    row.append(pick, drop);
    return row;
  }

  notes() {
    const gone = Number(localStorage.getItem(LET_GO) ?? 0);
    const told = gone ? [`To make room, ${gone === 1 ? "the oldest conversation was" : `the ${gone} oldest conversations were`} let go.`] : [];
    if (this.trouble) told.push(this.trouble);
    return told.map((text) => {
      const note = node("div", "qc-shelf-note", text);
      const close = node("button", "qc-kept-drop", "×", () => {
        localStorage.removeItem(LET_GO);
        this.trouble = "";
        this.draw();
      });
      close.setAttribute("aria-label", "Understood");
      note.append(close);
      return note;
    });
  }

  exports() {
    const line = node("div", "qc-shelf-foot", "Export ");
    const { props, server } = this.here;
    const name = (end) => `${titleOf(props.value.exchanges[0]).toLowerCase().replace(/[^\p{L}\p{N}]+/gu, "-").slice(0, 40)}.${end}`;
    const markdown = async () => download(name("md"), "text/markdown", await server.as_markdown(props.value));
    const json = async () => download(name("json"), "application/json", await server.as_json(props.value));
    line.append(node("button", "", "Markdown", markdown), node("button", "", "JSON", json));
    return line;
  }
}

window.queuechatShelf ??= new Shelf();
window.queuechatShelf.attach({ element, props, watch, server, leave: () => trigger("leave"), arrived: () => trigger("arrived") });
