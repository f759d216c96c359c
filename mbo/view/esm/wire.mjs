// Frames over a WebSocket of their own, beside the page: a message of Panel's costs the server ten times as much.
// It is offered with a token, once the page is ready. Where it cannot be had, frames go on coming as messages.

const PATH = "mbo-frames";
const TRIES = 3; // in a row, without a frame
const AGAIN_MS = 250;

export class Wire {
  constructor(receive, lost) {
    this.receive = receive;
    this.lost = lost;
    this.socket = null;
    this.taken = false; // whether frames come this way
    this.failed = 0;
  }

  take(token) {
    if (this.failed >= TRIES) return;
    this.close();
    const url = new URL(PATH, document.location.href);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    url.search = url.hash = "";
    let socket;
    try {
      socket = new WebSocket(url);
    } catch {
      this.failed = TRIES; // the page may open none
      return;
    }
    this.socket = socket;
    socket.binaryType = "arraybuffer";
    socket.onopen = () => socket.send(token);
    socket.onmessage = ({data}) => {
      this.taken = true;
      this.failed = 0;
      this.receive(data);
    };
    socket.onclose = () => this.ended();
  }

  // A socket that had taken over has to be made up for: the page says once more that it is ready.
  ended() {
    const {taken} = this;
    this.failed++;
    this.socket = null;
    this.taken = false;
    if (taken) setTimeout(this.lost, AGAIN_MS);
  }

  // Whether a message could go this way.
  send(message) {
    if (!this.taken) return false;
    this.socket.send(JSON.stringify(message));
    return true;
  }

  close() {
    if (!this.socket) return;
    this.socket.onmessage = this.socket.onclose = null;
    this.socket.close();
    this.socket = null;
    this.taken = false;
  }
}
