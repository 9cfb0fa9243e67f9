// Terms of use: shown until this browser has accepted them, again when somebody begins to write without.
(() => {
  let dialog = null;

  const say = (problem) => {
    dialog.querySelector(".qc-terms-note").textContent = problem;
  };

  const accept = async (hash) => {
    try {
      const answer = await fetch(`terms?hash=${encodeURIComponent(hash)}`, { method: "POST" });
      if (answer.status === 204) {
        dialog.close();
        dialog.remove();
        dialog = null;
      } else {
        say("The terms have changed. Reload the page to read them.");
      }
    } catch {
      say("The page does not answer. Try again.");
    }
  };

  const build = ({ html, hash }) => {
    dialog = document.createElement("dialog");
    dialog.id = "qc-terms";
    dialog.setAttribute("aria-labelledby", "qc-terms-title");
    dialog.innerHTML =
      '<h2 id="qc-terms-title">Terms of use</h2><div class="qc-terms-text" tabindex="0"></div>' +
      '<p class="qc-terms-note" role="alert"></p>' +
      '<div class="qc-terms-row"><button class="later">Not now</button><button class="accept">Accept</button></div>';
    dialog.querySelector(".qc-terms-text").innerHTML = html; // made by the server of Markdown, without any tags of its own
    for (const link of dialog.querySelectorAll("a")) {
      link.target = "_blank";
      link.rel = "noopener noreferrer";
    }
    dialog.querySelector(".later").onclick = () => dialog.close();
    dialog.querySelector(".accept").onclick = () => accept(hash);
    document.body.append(dialog);
    dialog.showModal();
    dialog.querySelector(".accept").focus();
  };

  const look = async () => {
    const answer = await fetch("terms");
    if (answer.status === 200) build(await answer.json());
  };

  document.addEventListener("focusin", (event) => {
    if (dialog && !dialog.open && event.target.matches("textarea")) dialog.showModal();
  });
  document.readyState === "loading" ? document.addEventListener("DOMContentLoaded", look) : look();
})();
