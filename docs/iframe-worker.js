// For pages that are opened from a folder: browsers give those no workers, and the search is one. Its script then runs
// in a hidden frame. Material's plugin `offline` would fetch such a stand-in from elsewhere, but for one of this name.
if (location.protocol === "file:") {
  window.Worker = window.IFrameWorker = class extends EventTarget {
    constructor(url) {
      super();
      const frame = document.createElement("iframe");
      frame.hidden = true;
      document.body.append(frame);
      const place = frame.contentWindow;
      place.postMessage = (data) => this.dispatchEvent(new MessageEvent("message", { data }));
      const script = Object.assign(place.document.createElement("script"), { src: url });
      this.ready = new Promise((done) => script.addEventListener("load", () => done(place)));
      place.document.body.append(script);
    }

    postMessage(data) {
      this.ready.then((place) => place.dispatchEvent(new MessageEvent("message", { data })));
    }

    terminate() {}
  };
}
