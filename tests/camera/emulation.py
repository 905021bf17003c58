"""What QEMU's user emulation does not do, and a box of another architecture gets instead. A native box has none of it.

* clone(2) with CLONE_NEWNS is refused, with which systemd hands over credentials: every unit with LoadCredential= fails, some
  of systemd's own among them. A script does it before the service starts, and elsewhere: below /run/credentials systemd lets
  a service without LoadCredential= see nothing.
* /proc/cpuinfo is this machine's, and ONNX Runtime for ARM crashes over an x86 one: it gets an RK3568's.
* seccomp is not there: systemd leaves the service's system call filter out. The native box has it.
"""

from __future__ import annotations

from pathlib import Path

CREDENTIALS = "/run/emulated-credentials"
_CPUINFO = "/etc/emulated-cpuinfo"
_SCRIPT = "/usr/local/sbin/hand-over-credentials"
_EVERY_UNIT = "[Service]\nLoadCredential=\n"
_AGENT = f"""[Service]
LoadCredential=
ExecStartPre=+{_SCRIPT}
Environment=CREDENTIALS_DIRECTORY={CREDENTIALS}
BindReadOnlyPaths={_CPUINFO}:/proc/cpuinfo
"""
# systemd makes no mount unit below /proc
_MOUNT = f"""[Unit]
DefaultDependencies=no
Before=sysinit.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/mount --bind {_CPUINFO} /proc/cpuinfo
"""
_HAND_OVER = f"""#!/bin/sh
set -e
rm -rf {CREDENTIALS}
install -d -o camagent -m 500 {CREDENTIALS}
for file in /etc/camagent/credentials/*; do
  [ ! -e "$file" ] || install -o camagent -m 400 "$file" "{CREDENTIALS}/secret_${{file##*/}}"
done
"""
_CORTEX_A55 = """processor\t: {number}
BogoMIPS\t: 48.00
Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x2
CPU part\t: 0xd05
CPU revision\t: 0

"""


def prepare(root: Path) -> None:
    """Puts all that into a root file system."""
    units = root / "etc/systemd/system"
    for folder, text in (("service.d", _EVERY_UNIT), ("camagent.service.d", _AGENT)):
        (units / folder).mkdir(exist_ok=True)
        (units / folder / "emulated.conf").write_text(text)
    (units / "emulated-cpuinfo.service").write_text(_MOUNT)
    (units / "sysinit.target.wants").mkdir(exist_ok=True)
    wanted = units / "sysinit.target.wants/emulated-cpuinfo.service"
    wanted.unlink(missing_ok=True)
    wanted.symlink_to("../emulated-cpuinfo.service")
    (root / _CPUINFO.lstrip("/")).write_text("".join(_CORTEX_A55.format(number=number) for number in range(4)))
    script = root / _SCRIPT.lstrip("/")
    script.write_text(_HAND_OVER)
    script.chmod(0o755)
