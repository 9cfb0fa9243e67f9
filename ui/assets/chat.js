// Gradio labels a message by all of its text; of a picture that would be read aloud as base64.
document.addEventListener("load", ({ target }) => {
  if (target.matches?.(".qc-picture")) target.closest("[aria-label]")?.setAttribute("aria-label", "What was attached");
}, true);
