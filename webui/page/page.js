// Keys and the look, for the page as a whole. What the page shows comes from the server.
(() => {
  const root = document.documentElement;
  root.lang = navigator.language;

  const dark = () => {
    const kept = localStorage.getItem("studio-look");
    return kept ? kept === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  };
  const dress = () => document.body?.classList.toggle("dark", dark());
  window.studioToggleLook = () => {
    localStorage.setItem("studio-look", dark() ? "light" : "dark");
    dress();
  };

  // The job that a tab of the browser shows is in its address: a reload finds it again.
  window.studioRemember = (watched) => {
    const job = (watched || "").split(" ")[0];
    const address = new URL(location.href);
    if (job) address.searchParams.set("job", job);
    else address.searchParams.delete("job");
    history.replaceState(null, "", address);
  };

  // Ctrl+Enter or Cmd+Enter presses the button of the form that the cursor is in.
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
    const form = document.activeElement?.closest(".desk");
    const button = form?.querySelector("button.go");
    if (!button || button.disabled) return;
    event.preventDefault();
    document.activeElement.dispatchEvent(new Event("change", { bubbles: true }));
    setTimeout(() => button.click(), 0);
  }, true);

  // A thumbnail's caption stands below it: its picture need not say the same again.
  const quieten = () => {
    document.querySelectorAll(".thumbs button img[alt]:not([alt=''])").forEach((image) => {
      if (image.closest("button")?.textContent.trim()) image.alt = "";
    });
  };

  const begin = () => {
    dress();
    quieten();
    let waiting = 0;
    const later = () => {
      waiting ||= setTimeout(() => {
        waiting = 0;
        quieten();
      }, 300);
    };
    new MutationObserver(later).observe(document.body, { childList: true, subtree: true });
    new MutationObserver(() => {
      if (document.body.classList.contains("dark") !== dark()) dress();
    }).observe(document.body, { attributes: true, attributeFilter: ["class"] });
  };
  if (document.body) begin();
  else document.addEventListener("DOMContentLoaded", begin);
})();
