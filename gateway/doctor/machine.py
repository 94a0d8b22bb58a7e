"""Tries the machine itself: disk against the quotas, its sync, its kind; clock; memory; processors.

Guarantees: one file of 4 KiB is written, synced and taken away in the data directory, as `check`
does anyway; the clock is only asked.
"""

from __future__ import annotations

import os
import shutil
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from drivers.contract import Clock
from gateway.config.site import Site
from gateway.doctor.finding import MACHINE, About, Finding, State
from gateway.runtime.clock import SystemClock

GIB = 1 << 30
_SYNCS = 12
_SLOW_MS, _HOPELESS_MS = 50.0, 500.0
"""An alarm waits for at most the commit that runs and its own, so for two syncs; a disk that takes
20 ms is what the alarms' own database was made for (ARCHITECTURE.md). Half a second is a disk that
dies, or a memory card."""
_CLOCK_ERROR_MS = 500.0
_POOR = {
    "nfs": "a network disk", "nfs4": "a network disk", "cifs": "a network disk",
    "smb3": "a network disk", "fuse.sshfs": "a network disk", "9p": "a shared folder of a host",
    "tmpfs": "memory, gone at the next start", "ramfs": "memory, gone at the next start",
    "vfat": "FAT, which has no journal", "exfat": "exFAT, which has no journal",
    "ntfs": "NTFS by a driver that syncs badly", "fuseblk": "NTFS by a driver that syncs badly",
}  # fmt: skip
"""File systems on which SQLite's WAL does not work or a power cut loses what was synced (SQLite,
"Write-Ahead Logging": all processes must be on one machine; not over a network file system)."""
GATEWAY_BYTES = 200 << 20
FIRST_CAMERA_BYTES, CAMERA_BYTES = 170 << 20, 25 << 20
"""Measured: 120 to 194 MB without cameras (ARCHITECTURE.md); a group of cameras 142 MB the first,
11 each further, 166 MB one with its own process (vision/README.md)."""


def disk(site: Site, clock: Clock) -> list[Finding]:
    """Free space against the quotas, kind of file system, time of a sync."""
    folder = _existing(site.gateway.data_dir)
    found = [_space(site, folder), _kind(folder)]
    synced = _sync(folder, clock)
    return [*found, *([synced] if synced else [])]


def clock_of(clock: SystemClock) -> Finding:
    """Whether something keeps the clock right."""
    error_ns = clock.kernel_error_ns()
    if error_ns is None:
        return Finding(
            MACHINE, About.CLOCK, State.DOUBTFUL,
            "nothing keeps this clock right (not synchronised)",
            "本机时钟未同步",
            "give chrony or systemd-timesyncd a time server of the plant; without one, times are"
            " corrected by the receiver's and marked so",
            "为 chrony 或 systemd-timesyncd 配置厂内时间服务器",
        )  # fmt: skip
    error_ms = error_ns / 1e6
    good = error_ms <= _CLOCK_ERROR_MS
    return Finding(
        MACHINE, About.CLOCK, State.GOOD if good else State.DOUBTFUL,
        f"synchronised, at most {error_ms:.0f} ms wrong", f"已同步,误差不超过 {error_ms:.0f} 毫秒",
        "" if good else "the time server was last heard long ago: chronyc sources, timedatectl",
        "" if good else "时间服务器久未响应:chronyc sources、timedatectl",
    )  # fmt: skip


def memory(cameras: int, meminfo: Path = Path("/proc/meminfo"), *, runs: bool = False) -> Finding:
    """Free memory against what gateway and cameras take. runs: they have taken it already."""
    fields = dict(line.split(":", 1) for line in meminfo.read_text(encoding="ascii").splitlines())
    free = int(fields["MemAvailable"].split()[0]) << 10
    if runs:
        return Finding(
            MACHINE, About.MEMORY, State.GOOD, f"{free >> 20:,} MB free beside the gateway",
            f"网关运行中,剩余内存 {free >> 20:,} MB",
        )  # fmt: skip
    need = GATEWAY_BYTES + (FIRST_CAMERA_BYTES + (cameras - 1) * CAMERA_BYTES if cameras else 0)
    good = free >= need
    return Finding(
        MACHINE, About.MEMORY, State.GOOD if good else State.FAULT,
        f"{free >> 20:,} MB free, about {need >> 20:,} MB needed (gateway"
        f"{f', {cameras} cameras' if cameras else ''})",
        f"可用内存 {free >> 20:,} MB,约需 {need >> 20:,} MB(网关和 {cameras} 路摄像机)",
        "" if good else "end other programs, or fewer cameras on this machine",
        "" if good else "关闭其他程序或减少摄像机",
    )  # fmt: skip


def processors(needed: Sequence[tuple[str, float]]) -> list[Finding]:
    """Share of the processors that cameras ask for. needed: (model, cores) each; measured."""
    if not needed:
        return []
    cores = len(os.sched_getaffinity(0))
    total = sum(share for _, share in needed)
    state = State.FAULT if total > cores else State.DOUBTFUL if total > 0.7 * cores else State.GOOD
    shown = ", ".join(f"{name} {share:.2f}" for name, share in needed)
    well = state is State.GOOD
    return [Finding(
        MACHINE, About.CPU, state,
        f"cameras need about {total:.2f} of {cores} cores ({shown}), measured now",
        f"摄像机分析约需 {total:.2f} 核,本机 {cores} 核({shown},现场实测)",
        "" if well else "lower analyse_fps, take the sub-stream, or fewer tiles (decoding comes on"
        " top: vision/README.md)",
        "" if well else "降低 analyse_fps,使用子码流,减少分块(解码另计)",
    )]  # fmt: skip


def _space(site: Site, folder: Path) -> Finding:
    buffer = site.buffer
    wanted = (
        buffer.alarm_quota_gb + buffer.event_quota_gb + buffer.telemetry_quota_gb
        + buffer.evidence_quota_gb + buffer.rollup_quota_gb
    )  # fmt: skip
    recorded = any(camera.record != "never" for camera in site.cameras)
    apart = ""
    if recorded and not site.recording.folder:
        wanted += site.recording.quota_gb + site.recording.reserve_gb
        apart = f" (recordings {site.recording.quota_gb:g})"
    held = _held(site.gateway.data_dir)
    free = shutil.disk_usage(folder).free
    good = free + held >= wanted * GIB
    return Finding(
        MACHINE, About.DISK, State.GOOD if good else State.FAULT,
        f"{folder}: {free / GIB:,.1f} GB free and {held / GIB:,.1f} GB used by the gateway; quotas"
        f" ask for {wanted:,.1f} GB{apart}",
        f"{folder}:剩余 {free / GIB:,.1f} GB,网关已用 {held / GIB:,.1f} GB;配额共需"
        f" {wanted:,.1f} GB",
        "" if good else "a larger disk, or smaller quotas in [buffer] and [recording]: a full disk"
        " sheds telemetry first",
        "" if good else "换更大的磁盘或减小 [buffer]、[recording] 配额;磁盘写满会先丢弃遥测",
    )  # fmt: skip


def _kind(folder: Path, mounts: Path = Path("/proc/self/mountinfo")) -> Finding:
    kind = kind_of(folder.resolve(), mounts.read_text(encoding="utf-8", errors="replace"))
    poor = _POOR.get(kind, "")
    return Finding(
        MACHINE, About.DISK, State.FAULT if poor else State.GOOD,
        f"{folder} is on {kind or 'an unknown file system'}{f': {poor}' if poor else ''}",
        f"{folder} 的文件系统为 {kind or '未知'}{',不适合' if poor else ''}",
        "" if not poor else "give data_dir a folder on a local disk with ext4 or xfs",
        "" if not poor else "把 data_dir 放到本地 ext4 或 xfs 磁盘上",
    )  # fmt: skip


def kind_of(folder: Path, mountinfo: str) -> str:
    """File system of a folder, by the text of /proc/self/mountinfo (proc(5)).

    Of several mounts at one place the last is seen: an automount lies under what it mounts.
    """
    found, longest = "", -1
    for line in mountinfo.splitlines():
        head, _, tail = line.partition(" - ")
        fields = head.split()
        if len(fields) < 5 or not tail:
            continue
        point = fields[4].replace("\\040", " ")
        if len(point) >= longest and folder.is_relative_to(point):
            found, longest = tail.split()[0], len(point)
    return found


def _sync(folder: Path, clock: Clock) -> Finding | None:
    """Time of a sync of 4 KiB; nothing where the folder takes no file, which `check` has said."""
    times = []
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".plantgate-check-") as probe:
            for _ in range(_SYNCS):
                probe.write(os.urandom(4096))
                probe.flush()
                before_ns = clock.monotonic_ns()
                os.fdatasync(probe.fileno())
                times.append((clock.monotonic_ns() - before_ns) / 1e6)
    except OSError as error:
        return Finding(
            MACHINE, About.DISK, State.FAULT, f"{folder} takes no file: {error.strerror}",
            f"{folder} 无法写入:{error.strerror}", "look at its owner, rights and mount options",
            "检查属主、权限和挂载选项",
        )  # fmt: skip
    usual, longest = statistics.median(times), max(times)
    state = (
        State.FAULT if usual > _HOPELESS_MS
        else State.DOUBTFUL if usual > _SLOW_MS
        else State.GOOD
    )  # fmt: skip
    well = state is State.GOOD
    return Finding(
        MACHINE, About.DISK, state,
        f"a sync takes {usual:.1f} ms, at most {longest:.1f}; an alarm waits for up to two",
        f"一次落盘 {usual:.1f} 毫秒,最长 {longest:.1f};报警最多等待两次落盘",
        "" if well else "use an SSD made for industry rather than a memory card or a USB stick",
        "" if well else "使用工业级固态盘,不用存储卡或 U 盘",
    )  # fmt: skip


def _held(data_dir: Path) -> int:
    """Bytes that the gateway's own files take already; 0 where there are none."""
    return sum(_sizes(data_dir)) if data_dir.is_dir() else 0


def _sizes(folder: Path) -> Iterator[int]:
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                yield os.lstat(os.path.join(place, name)).st_blocks * 512  # noqa: PTH118  # many files
            except OSError:
                continue


def _existing(folder: Path) -> Path:
    """Folder, or the nearest above it that exists."""
    folder = folder.absolute()
    while not folder.exists():
        folder = folder.parent
    return folder


__all__ = ["clock_of", "disk", "kind_of", "memory", "processors"]
