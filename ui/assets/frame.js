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
    const others = location.search.slice(1).split("&").filter((word) => {
      const key = decodeURIComponent(word.split("=")[0]);
      return key && key !== "model" && !all.some((one) => slug(one) === key);
    });
    const words = (first ? others : [slug(tab), ...others]).join("&");
    history.replaceState(history.state, "", location.pathname + (words && `?${words}`) + location.hash);
  };

  const chosen = (tab) => {
    const all = tabs();
    document.documentElement.dataset.tab = slug(tab);
    for (const one of all) one.tabIndex = one === tab ? 0 : -1; // as a list of tabs is walked: one stop, then arrows
    tab.scrollIntoView({ block: "nearest", inline: "center" });
    name(tab, all);
    requestAnimationFrame(look);
  };

  const look = () => {
    if (!document.hidden) document.querySelector(`#qc-look-${document.documentElement.dataset.tab}`)?.click();
  };
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
