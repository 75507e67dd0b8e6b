"""The emulated board's disk, kernel and initial RAM disk: built once from distribution packages and Python wheels.

Nothing of it is run while it is built, so no ARM64 emulation is needed for that, nor root. The files lie in the user's
cache under the hash of what they are made by; a build that is interrupted leaves nothing there.
"""

from __future__ import annotations

import compileall
import gzip
import hashlib
import os
import py_compile
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgecnn.errors import EdgecnnError
from edgecnn.locks import PrivateFolder
from edgecnn.progress import Progress, silent

#: The Debian release of the board and the Python that comes with it.
RELEASE, PYTHON = "bookworm", (3, 11)

#: What the board is made of: a shell, sshd, Python, the libraries that runtimes link to, a kernel for virtual machines.
PACKAGES = (
    *("busybox-static", "bash", "dash", "coreutils", "procps", "tar", "gzip", "grep", "sed", "findutils", "util-linux"),
    *("openssh-server", "openssh-sftp-server", "python3", "libstdc++6", "libgomp1", "linux-image-cloud-arm64"),
)

#: Python packages on the board; the versions that edgecnn is tested with here, so that figures can be compared.
WHEELS = ("numpy==2.4.6", "ai-edge-litert==2.3.0", "onnxruntime==1.31.1")
_PLATFORMS = ("manylinux_2_28", "manylinux_2_27", "manylinux_2_17", "manylinux2014")

#: Kernel modules, in the order in which they are inserted (`initramfs.sh`).
_MODULES = (
    *("virtio", "virtio_ring", "virtio_pci_legacy_dev", "virtio_pci_modern_dev", "virtio_pci", "virtio_blk"),
    *("failover", "net_failover", "virtio_net", "virtio-rng"),
)

#: Program → the Debian package that has it.
PROGRAMS = {
    "qemu-system-aarch64": "qemu-system-arm",
    "mmdebstrap": "mmdebstrap",
    "cpio": "cpio",
    "mke2fs": "e2fsprogs",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "setpriv": "util-linux",
}

#: What a build fetches and leaves, for the sentence that announces it; measured in November 2026, rounded up.
PACKAGES_MB, WHEELS_MB, DISK_MB = 80, 55, 400

_HERE = Path(__file__).parent
_SSHD_CONFIG = """\
Port 22
HostKey /etc/ssh/host_key
AuthorizedKeysFile /etc/ssh/authorized_keys
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
UseDNS no
KexAlgorithms curve25519-sha256
StrictModes no
PrintMotd no
MaxStartups 100
AcceptEnv LANG
Subsystem sftp /usr/lib/openssh/sftp-server
"""
# A password of "*" lets a key in; "!" would count as a locked account.
_ACCOUNTS = """\
root:*:0:0:root:/root:/sbin/board-shell
pi:*:1000:1000:pi:/home/pi:/sbin/board-shell
sshd:*:100:65534::/run/sshd:/bin/false
"""
_GROUP = "root:*:0:\npi:*:1000:\nnogroup:*:65534:\n"


@dataclass(frozen=True)
class Image:
    """The files of a built board."""

    folder: Path

    @property
    def kernel(self) -> Path:
        """The Linux kernel, uncompressed or as Debian packs it."""
        return self.folder / "kernel"

    @property
    def initramfs(self) -> Path:
        """What the kernel runs first."""
        return self.folder / "initramfs.gz"

    @property
    def disk(self) -> Path:
        """The root file system, ext4; never written to."""
        return self.folder / "disk.img"

    @property
    def key(self) -> Path:
        """The private key that the board lets in, as root or pi; made with the image, for this board alone."""
        return self.folder / "client_key"

    @property
    def host_key(self) -> Path:
        """The board's public host key."""
        return self.folder / "host_key.pub"


def find_image() -> Image | None:
    """Return the image in the cache, or None where this version's is not built yet."""
    folder = _cache() / f"board-{_recipe_hash()}"
    return Image(folder) if folder.is_dir() else None


def describe_build() -> str:
    """Return the sentence that says what a build fetches, from where, and what it leaves."""
    return (
        f"The emulated board is built once: about {PACKAGES_MB} MB of Debian {RELEASE} packages for ARM64 from the "
        f"mirror that apt uses here, and {WHEELS_MB} MB of Python wheels ({', '.join(WHEELS)}) through pip; "
        f"{DISK_MB} MB in {_cache()}"
    )


def build_board(progress: Progress = silent) -> Image:
    """Build the emulated board's image, or return the one in the cache; see `describe_build` for what it fetches.

    Raises:
        EdgecnnError: a program is missing, apt has no Debian mirror, or a step of the build failed.

    Example:
        >>> edgecnn.build_board()  # doctest: +SKIP
        Image(...)
    """
    check_programs()
    found = find_image()
    if found is not None:
        return found
    cache = _cache()
    cache.mkdir(parents=True, exist_ok=True)
    final = cache / f"board-{_recipe_hash()}"
    with PrivateFolder(cache) as scratch:
        work = Path(scratch)
        image, root = work / "image", work / "root"
        image.mkdir()
        progress("emulated board: fetching Debian packages", 0, 3)
        _fetch_packages(work, root)
        progress("emulated board: fetching Python wheels", 1, 3)
        _fetch_wheels(work, root)
        progress("emulated board: writing its disk", 2, 3)
        _write_image(root, image)
        progress("emulated board: built", 3, 3)
        try:
            image.rename(final)
        except OSError:  # another process was faster; its image is as good
            if not final.is_dir():
                raise
    return Image(final)


def check_programs(programs: Mapping[str, str] = PROGRAMS) -> None:
    """Raise where one of *programs* is missing, with the line that installs it.

    Raises:
        EdgecnnError: which programs are missing.
    """
    missing = {name: package for name, package in programs.items() if find_program(name) is None}
    if missing:
        packages = " ".join(sorted(set(missing.values())))
        raise EdgecnnError(
            f"the emulated board needs {', '.join(missing)}: sudo apt-get install --no-install-recommends {packages}"
        )


def find_program(name: str) -> str | None:
    """Return the path of a program; mke2fs is among root's, which are not on everyone's path."""
    return shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"]))


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edgecnn"


def _recipe_hash() -> str:
    """Return the hash of all that decides how the image turns out."""
    digest = hashlib.sha256()
    for name in ("image.py", "init.sh", "initramfs.sh", "shell.sh"):
        digest.update((_HERE / name).read_bytes())
    return digest.hexdigest()[:16]


def _fetch_packages(work: Path, root: Path) -> None:
    """Unpack the Debian packages under *root*; they are not configured, which would need ARM64."""
    archive = work / "root.tar"
    include = f"--include={','.join(PACKAGES)}"
    mode = f"--mode={'root' if os.geteuid() == 0 else 'chrootless'}"  # nothing is run, so both come to the same
    what = ["--quiet", "--variant=extract", "--architectures=arm64", mode, include]
    _run(["mmdebstrap", *what, RELEASE, archive, _mirror()], "fetching the Debian packages")
    root.mkdir()
    unneeded = [f"--exclude=./{name}" for name in ("dev/*", "usr/share/doc/*", "usr/share/locale/*", "usr/share/man/*")]
    _run(["tar", "-xf", archive, "-C", root, "--no-same-owner", *unneeded], "unpacking the Debian packages")
    archive.unlink()


def _mirror() -> str:
    """Return the Debian mirror that this machine's apt is set up with."""
    try:
        listed = subprocess.run(
            [find_program("apt-get") or "apt-get", "indextargets", "--format", "$(LABEL) $(SITE)"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        listed = ""
    sites = sorted({line.partition(" ")[2] for line in listed.splitlines() if line.startswith("Debian ")})
    if not sites:
        raise EdgecnnError("the emulated board is built from Debian packages, and apt here knows no Debian mirror")
    return sites[0]


def _fetch_wheels(work: Path, root: Path) -> None:
    """Put the Python packages under *root*, and compile them: the disk is read-only, so no board would keep that."""
    site = root / "usr/lib/python3/dist-packages"
    platforms = [f"--platform={name}_aarch64" for name in _PLATFORMS]
    version = f"{PYTHON[0]}.{PYTHON[1]}"
    _run(
        [
            *(sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-compile"),
            *("--target", str(site), "--only-binary=:all:", "--implementation=cp", f"--python-version={version}"),
            *(*platforms, *WHEELS),
        ],
        "fetching the Python wheels",
        folder=work,
    )
    if sys.version_info[:2] == PYTHON:  # another Python's bytecode would not be read; imports then take longer there
        for place in (site, root / f"usr/lib/python{version}"):
            compileall.compile_dir(
                place,
                quiet=2,
                stripdir=str(root),
                prependdir="/",
                rx=re.compile(r"/(tests?|testing|idlelib|lib2to3|ensurepip|transformers|quantization|tools)/"),
                invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
            )


def _write_image(root: Path, image: Path) -> None:
    """Write the files of `Image` to *image*."""
    shutil.copyfile(next((root / "boot").glob("vmlinuz-*")), image / "kernel")
    _write_initramfs(root, image / "initramfs.gz")
    shutil.rmtree(root / "boot")
    shutil.rmtree(root / "lib/modules")
    for name in ("client_key", "host_key"):
        _run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", image / name], "making a key pair")
    for name in ("dev", "proc", "sys", "run", "tmp", "root", "home/pi", "etc/ssh"):
        (root / name).mkdir(parents=True, exist_ok=True)
    (root / "tmp").chmod(0o1777)
    texts = {
        "etc/passwd": _ACCOUNTS,
        "etc/group": _GROUP,
        "etc/shadow": "",
        "etc/ssh/sshd_config": _SSHD_CONFIG,
        "etc/ssh/authorized_keys": (image / "client_key.pub").read_text(),
    }
    for name, text in texts.items():
        (root / name).write_text(text, encoding="utf-8")
    (image / "host_key").rename(root / "etc/ssh/host_key")
    for script, name in (("init.sh", "sbin/init"), ("shell.sh", "sbin/board-shell")):
        (root / name).unlink(missing_ok=True)
        shutil.copyfile(_HERE / script, root / name)
        (root / name).chmod(0o755)
    size = f"{_megabytes(root) + 1024}M"  # what is pushed to the board goes there; the file is sparse
    _run(["mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", "-d", root, image / "disk.img", size], "writing the disk")


def _megabytes(folder: Path) -> int:
    """Return what *folder* holds, in units of 1 MiB, with room for the file system's own tables."""
    used = sum(path.lstat().st_size + 4096 for path in folder.rglob("*"))
    return used * 11 // 10 // 2**20


def _write_initramfs(root: Path, path: Path) -> None:
    """Write the kernel's first file system, with busybox and what finds the disk, to *path*."""
    with PrivateFolder(path.parent) as scratch:
        first = Path(scratch)
        for name in ("bin", "modules", "proc", "dev", "root"):
            (first / name).mkdir()
        shutil.copy(root / "bin/busybox", first / "bin/busybox")
        shutil.copyfile(_HERE / "initramfs.sh", first / "init")
        (first / "init").chmod(0o755)
        for name in _MODULES:
            module = next((root / "lib/modules").rglob(f"{name}.ko"), None)
            if module is None:
                raise EdgecnnError(f"the emulated board's kernel has no module {name}")
            shutil.copyfile(module, first / "modules" / module.name)
        names = "\n".join(str(found.relative_to(first)) for found in sorted(first.rglob("*")))
        packed = _run(["cpio", "-o", "-H", "newc", "--quiet", "-R", "0:0"], "packing", folder=first, given=names)
        path.write_bytes(gzip.compress(packed, mtime=0))


def _run(arguments: Sequence[str | Path], what: str, *, folder: Path | None = None, given: str = "") -> bytes:
    """Run a program and return what it prints; where it fails, its last line is the reason."""
    program, *rest = map(str, arguments)
    try:
        done = subprocess.run(
            [find_program(program) or program, *rest],
            input=given.encode(),
            capture_output=True,
            cwd=folder,
            check=False,
        )
    except OSError as error:
        raise EdgecnnError(f"the emulated board cannot be built: {what}: {error}") from None
    if done.returncode != 0:
        lines = done.stderr.decode(errors="replace").strip().splitlines() or [f"exit code {done.returncode}"]
        raise EdgecnnError(f"the emulated board cannot be built: {what} failed: {lines[-1].strip()[:300]}")
    return done.stdout
