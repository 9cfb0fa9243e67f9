// The address names the tab: `?queues` opens that tab, and who chooses a tab finds its name in the address.
// A tab with a (hidden) button `qc-look-<name>` has it pressed for as long as somebody sees the tab: it draws itself anew.
(() => {
  const TITLE = "queuechat";
  const LOOK_MS = 2000;
  const BAR = "#qc-tabs > .tab-wrapper";
  const tabs = () => [...document.querySelectorAll(`${BAR} [role=tab]`)];
  const slug = (tab) => tab.dataset.tabId;

  // `?model=…` alone is an address of the chat.
  const asked = (all) => {
    const words = new URLSearchParams(location.search);
    return all.find((tab) => words.has(slug(tab))) ?? (words.has("model") ? all.find((tab) => slug(tab) === "direct") : undefined);
  };

  // What is no tab's (Gradio's own `__theme`, say) stays in the address; a model goes with the chat that it was meant for.
  const name = (tab, all) => {
    const first = tab === all[0];
    document.title = first ? TITLE : `${tab.textContent.trim()} · ${TITLE}`;
    if (asked(all) === tab) return;
    const others = new URLSearchParams(location.search);
    for (const word of ["model", ...all.map(slug)]) others.delete(word);
    const words = [first ? "" : slug(tab), `${others}`.replace(/=(?=&|$)/g, "")].filter(Boolean).join("&");
    history.replaceState(history.state, "", location.pathname + (words && `?${words}`) + location.hash);
  };

  const chosen = (tab) => {
    const all = tabs();
    document.documentElement.dataset.tab = slug(tab);
    for (const one of all) one.tabIndex = one === tab ? 0 : -1; // as a list of tabs is walked: one stop, then arrows
    tab.scrollIntoView({ block: "nearest", inline: "center" });
    name(tab, all);
    firstLook();
  };

  const button = () => document.querySelector(`#qc-look-${document.documentElement.dataset.tab}`);
  const look = () => document.hidden || button()?.click();
  // What a tab holds is put into the page when it is first chosen, a moment later.
  const firstLook = (tries = 20) => (button() ? look() : tries && setTimeout(firstLook, 50, tries - 1));
  setInterval(look, LOOK_MS);
  document.addEventListener("visibilitychange", look);

  const begin = () => {
    const all = tabs();
    if (!all.length) return false;
    const first = asked(all);
    if (first) first.click();
    chosen(first ?? all[0]);
    new MutationObserver((changes) => {
      const tab = changes.map((change) => change.target).find((one) => one.matches(`${BAR} [aria-selected=true]`));
      if (tab) chosen(tab);
    }).observe(document.body, { subtree: true, attributeFilter: ["aria-selected"] });
    return true;
  };
  new MutationObserver((_, observer) => begin() && observer.disconnect()).observe(document, { subtree: true, childList: true });

  document.addEventListener("keydown", (event) => {
    if (!event.target.matches?.(`${BAR} [role=tab]`)) return;
    const all = tabs();
    const at = all.indexOf(event.target);
    const next = { ArrowRight: at + 1, ArrowLeft: at - 1 + all.length, Home: 0, End: all.length - 1 }[event.key];
    if (next === undefined) return;
    event.preventDefault();
    const tab = all[next % all.length];
    tab.focus();
    tab.click();
  });
})();
