// Footers and notices are for the eye: what is copied is the answer alone.
(() => {
  const clean = (text) => text.replace(/\n*<div class="qc-[a-z -]+">.*?<\/div>\s*(?=\n|$)/g, "");
  const board = navigator.clipboard;
  if (board) {
    const write = board.writeText.bind(board);
    board.writeText = (text) => write(clean(text));
  }
  // Without a secure context Gradio copies from a hidden text area.
  document.addEventListener("copy", (event) => {
    const area = document.activeElement;
    if (area && area.tagName === "TEXTAREA" && area.value.includes('<div class="qc-')) {
      event.clipboardData.setData("text/plain", clean(area.value));
      event.preventDefault();
    }
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") document.querySelector("#qc-chat")?.classList.remove("open");
  });
})();
