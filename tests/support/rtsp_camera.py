"""A real RTSP camera for the tests: GStreamer's RTSP server, looping the access units of a file.

Runs under the system's Python (its GObject binding is a Debian package), never in the agent's environment.
One line on stdin is one command; every command is answered by one line on stdout:

    freeze | resume       stop / go on sending media, the session stays up
    drop P                lose the share P (0..1) of the RTP packets of sessions opened from now on
    clients               how many clients are connected: answered by their number
    clip N                go on with the N-th file (another resolution, same codec) at its next key frame
    kick                  end every session, go on accepting
    quit
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
from dataclasses import dataclass

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstApp", "1.0")
gi.require_version("GstRtsp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstApp, GstRtsp, GstRtspServer  # noqa: E402

CODECS = {
    "h264": (
        "h264parse ! video/x-h264,stream-format=byte-stream,alignment=au",
        "h264parse config-interval=-1 ! rtph264pay name=pay0 pt=96 config-interval=-1",
    ),
    "h265": (
        "h265parse ! video/x-h265,stream-format=byte-stream,alignment=au",
        "h265parse config-interval=-1 ! rtph265pay name=pay0 pt=96 config-interval=-1",
    ),
    "mjpeg": ("jpegparse ! image/jpeg", "jpegparse ! rtpjpegpay name=pay0 pt=26"),
}


@dataclass(frozen=True)
class Clip:
    """Access units of one file in decoding order: (data, pts, dts, is key frame), times in ns from 0."""

    caps: Gst.Caps
    units: list[tuple[bytes, int, int, bool]]
    duration: int


def load(path: str, codec: str) -> Clip:
    demux = "qtdemux" if path.endswith((".mp4", ".mov")) else "matroskademux" if path.endswith(".mkv") else "identity"
    pipe = Gst.parse_launch(f'filesrc location="{path}" ! {demux} ! {CODECS[codec][0]} ! appsink name=out sync=false')
    sink = pipe.get_by_name("out")
    pipe.set_state(Gst.State.PLAYING)
    units, caps = [], None
    while (sample := sink.emit("pull-sample")) is not None:
        buf, caps = sample.get_buffer(), sample.get_caps()
        key = not buf.has_flags(Gst.BufferFlags.DELTA_UNIT)
        units.append((buf.extract_dup(0, buf.get_size()), buf.pts, buf.dts, key, buf.duration))
    pipe.set_state(Gst.State.NULL)
    if not units:
        sys.exit(f"no access unit in {path}")
    step = next((d for *_, d in units if 0 < d < Gst.SECOND * 2), Gst.SECOND // 25)
    none = Gst.CLOCK_TIME_NONE
    pts = [p if p != none else i * step for i, (_, p, *_rest) in enumerate(units)]
    first = min(pts)
    dts = [d if d != none else i * step for i, (_, _, d, *_rest) in enumerate(units)]
    zero = min(dts[0], first)
    table = [(u[0], p - zero, max(d - zero, 0), u[3]) for u, p, d in zip(units, pts, dts)]
    return Clip(caps, table, max(pts) - zero + step)


class Camera(GstRtspServer.RTSPMediaFactory):
    def __init__(self, clips: list[Clip], args: argparse.Namespace) -> None:
        super().__init__()
        self.clips, self.args = clips, args
        self.frozen, self.loss, self.clip = False, args.drop, 0
        self.set_shared(args.shared)
        self.set_latency(0)

    def do_create_element(self, _url: object) -> Gst.Element:
        pay = CODECS[self.args.codec][1]
        if self.loss:
            # the loss sits behind the payloader, so the server must find it under the payloader's name
            pay = pay.replace("name=pay0", "name=inner") + f" ! identity name=pay0 drop-probability={self.loss}"
        return Gst.parse_launch(f"( appsrc name=src format=time is-live=true do-timestamp=false block=true ! {pay} )")

    def do_configure(self, media: GstRtspServer.RTSPMedia) -> None:
        GstRtspServer.RTSPMediaFactory.do_configure(self, media)
        src = media.get_element().get_by_name("src")
        src.set_property("caps", self.clips[self.clip].caps)
        gone = threading.Event()
        media.connect("unprepared", lambda *_: gone.set())
        threading.Thread(target=self.feed, args=(src, gone), daemon=True).start()

    def feed(self, src: GstApp.AppSrc, gone: threading.Event) -> None:
        """Pushes access units at their own pace (or --speed times it) until the session ends."""
        base, which = 0, self.clip
        start, held = time.monotonic(), 0.0
        while not gone.is_set():
            clip = self.clips[which]
            played = clip.duration
            for data, pts, dts, key in clip.units:
                if key and which != self.clip:
                    played = dts  # cut short: the next clip follows at once
                    break
                while self.frozen and not gone.is_set():
                    time.sleep(0.02)
                    held += 0.02
                due = start + held + (base + dts) / Gst.SECOND / self.args.speed
                while (wait := due - time.monotonic()) > 0 and not gone.is_set():
                    time.sleep(min(wait, 0.05))
                if gone.is_set():
                    return
                buf = Gst.Buffer.new_wrapped(data)
                # the clock of the session goes on while frozen: a camera that hangs does not stop time
                buf.pts = int((base + pts) / self.args.speed + held * Gst.SECOND)
                buf.dts = int((base + dts) / self.args.speed + held * Gst.SECOND)
                if src.emit("push-buffer", buf) != Gst.FlowReturn.OK:
                    return
            base += played
            if which != self.clip:
                which = self.clip
                src.set_property("caps", self.clips[which].caps)
            elif self.args.once:
                src.emit("end-of-stream")
                return


def commands(camera: Camera, server: GstRtspServer.RTSPServer, loop: GLib.MainLoop) -> None:
    for line in sys.stdin:
        word, _, value = line.strip().partition(" ")
        if word == "freeze":
            camera.frozen = True
        elif word == "resume":
            camera.frozen = False
        elif word == "drop":
            camera.loss = float(value)
        elif word == "clip":
            camera.clip = int(value)
        elif word == "kick":
            server.client_filter(lambda *_: GstRtspServer.RTSPFilterResult.REMOVE)
        elif word == "quit":
            break
        elif word == "clients":
            print(len(server.client_filter(lambda *_: GstRtspServer.RTSPFilterResult.REF)), flush=True)
            continue
        print("ok", flush=True)
    loop.quit()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--address", default="127.0.0.1", help="of this machine, to listen on")
    parser.add_argument("--codec", choices=sorted(CODECS), default="h264")
    parser.add_argument("--once", action="store_true", help="end after one pass instead of looping")
    parser.add_argument("--shared", action="store_true", help="one running picture for all clients")
    parser.add_argument("--speed", type=float, default=1.0)
    parser.add_argument("--drop", type=float, default=0.0)
    parser.add_argument("--transport", choices=["tcp", "udp", "any"], default="any", help="others are refused with 461")
    parser.add_argument("--user", help="name:password that clients must give")
    args = parser.parse_args()
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address(args.address)
    server.set_service(str(args.port))
    camera = Camera([load(f, args.codec) for f in args.files], args)
    if args.transport != "any":
        lower = GstRtsp.RTSPLowerTrans
        camera.set_protocols(lower.TCP if args.transport == "tcp" else lower.UDP)
    if args.user:
        name, _, password = args.user.partition(":")
        auth = GstRtspServer.RTSPAuth()
        token = GstRtspServer.RTSPToken()
        token.set_string("media.factory.role", "viewer")
        auth.add_basic(GstRtspServer.RTSPAuth.make_basic(name, password), token)
        server.set_auth(auth)
        camera.add_role_from_structure(
            Gst.Structure.from_string("viewer,media.factory.access=true,media.factory.construct=true")[0]
        )
    server.get_mount_points().add_factory("/cam", camera)
    if server.attach(None) == 0:
        sys.exit(f"port {args.port} is taken")
    loop = GLib.MainLoop()
    threading.Thread(target=commands, args=(camera, server, loop), daemon=True).start()
    print("ready", flush=True)
    loop.run()


if __name__ == "__main__":
    main()
