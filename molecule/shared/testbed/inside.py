# SPDX-License-Identifier: GPL-3.0-or-later
"""What a process of one instance tries to do to another instance and to its host, from inside.

Each line of the script prints its name and whether it got what it wanted.
"""

from __future__ import annotations


def script(attempts: dict[str, str]) -> str:
    """A shell script without single quotes, for one command line: NAME yes, or NAME no."""
    return "; ".join(f"if ( {what} ) >/dev/null 2>&1; then echo {name} yes; else echo {name} no; fi"
                     for name, what in attempts.items())  # fmt: skip


def answers(text: str) -> dict[str, bool]:
    """What the script said, by attempt."""
    pairs = [line.split() for line in text.splitlines() if line.endswith((" yes", " no"))]
    return {name: said == "yes" for name, said in pairs}


# Of a container, against the files of an instance ``other`` on its host.
OF_CONTAINER = {
    "reads-its-own-options": "cat /etc/vllm/config.yaml",
    "writes-into-its-memory": "touch /tmp/x /root/x",
    "reads-a-key": "cat /etc/vllm/other.secret || cat /etc/vllm/_all.secret",
    "finds-a-cache": "find / -xdev -name planted-other-cache | grep -q . || ls /var/lib/containers/storage",
    "reads-an-environment": "grep -q PLANTED_OTHER /proc/*/environ",
    "opens-a-gpu": "head -c 1 /dev/kfd || head -c 1 /dev/dri/renderD128",
    "makes-a-device": "mknod /tmp/d c 226 128",
    "writes-into-the-image": "touch /usr/x || touch /x",
    "writes-its-model": 'touch $(sed -n "s/^model: *//p" /etc/vllm/config.yaml)/x || touch /srv/models/tiny-llama/x',
    "mounts": "mount -t tmpfs none /mnt",
    "becomes-more": 'grep -E "^NoNewPrivs:.*0|^Seccomp:.*0" /proc/self/status',
    "loads-a-key-of-the-kernel": "chroot / true",
}
# Of a service, run as a second unit made of the first one's text.
OF_SERVICE = {
    "writes-its-own-state": "touch $HOME/x",
    "reads-a-key": "cat /etc/vllm/tiny.secret || cat /etc/vllm/_all.secret",
    "reads-a-state": "ls /var/lib/private/vllm-tiny/ || ls /var/lib/vllm-tiny/",
    "reads-a-cache": "ls /var/cache/private/vllm-tiny/ || ls /var/cache/vllm-tiny/",
    "plants-code": "touch /opt/vllm/x || touch /opt/vllm/current/x || touch /usr/local/lib/amdgpu-fleet/x || touch /srv/models/tiny-llama/x",
    "sees-a-process": "grep -l vllm-tiny /proc/[0-9]*/cgroup",
    "reads-an-environment": "cat /proc/$OTHER/environ",
    "signals": "kill -0 $OTHER",
    "opens-a-gpu": "head -c 1 /dev/kfd || head -c 1 /dev/dri/renderD128",
    "makes-a-device": "mknod $HOME/d c 226 128",
    "mounts": "mount -t tmpfs none /mnt",
    "reads-a-home": "ls -A /root | grep -q . || ls -A /home | grep -q .",
}
