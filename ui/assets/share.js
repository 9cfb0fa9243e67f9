// A duel as a picture. It is drawn by this page from what is on it: nothing is sent anywhere.
(() => {
  const make = (kind, name, ...inside) => {
    const element = document.createElement(kind);
    if (name) element.className = name;
    element.append(...inside.filter(Boolean));
    return element;
  };
  const copy = (element) => element?.cloneNode(true);

  const head = (side) => {
    const told = copy(side.querySelector(".qc-head"));
    const chosen = side.querySelector(".qc-choice input");
    if (chosen) told.append(make("b", "", chosen.value));
    return told;
  };
  const half = (side) => make("div", "", head(side), make("div", "qc-bot", copy(side.querySelector(".message-wrap"))));

  const card = (stage) => {
    const day = make("time", "", new Date().toISOString().slice(0, 10));
    const brand = make("header", "", copy(document.querySelector(".qc-brand")), day);
    const pair = make("div", "qc-pair", ...[...stage.querySelectorAll(".qc-side")].map(half));
    return make("div", "qc-card", brand, pair, copy(stage.querySelector(".qc-verdict")));
  };

  const share = async (name) => {
    const stage = document.querySelector(`#qc-${name}`);
    const picture = card(stage);
    const studio = make("div", "qc-studio", picture);
    document.querySelector(".gradio-container").append(studio);
    try {
      const file = await htmlToImage.toBlob(picture, { pixelRatio: 2, backgroundColor: getComputedStyle(picture).backgroundColor });
      const link = make("a");
      link.href = URL.createObjectURL(file);
      link.download = `queuechat-${name}.png`;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 10000);
    } finally {
      studio.remove();
    }
  };
  window.queuechat = { ...window.queuechat, share };
})();
