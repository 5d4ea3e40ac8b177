"""A Slurm cluster of one node on the loopback address, whose state, keys and settings are in one folder and nowhere else."""

import ctypes
import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType

import psutil

DAEMONS = ("munged", "slurmctld", "slurmd")
CLIENTS = ("sbatch", "scancel", "scontrol", "sinfo", "squeue", "srun")
SUPERVISE = 36
"""PR_SET_CHILD_SUBREAPER: daemons' orphans, the jobs, become children of this process, which can then end them."""
PATIENCE = 60.0
"""Seconds within which a daemon or a node has to answer."""
SETTINGS = """\
ClusterName=check
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SlurmUser=root
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SlurmdParameters=config_overrides
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
MinJobAge=3600
KillWait=5
ReturnToService=2
SchedulerParameters=batch_sched_delay=1,sched_min_interval=500000
NodeName={host} NodeAddr=127.0.0.1 CPUs={cores} RealMemory={memory} State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""
CLIENT = """\
#!/bin/sh
SLURM_CONF={folder}/slurm.conf exec {real} "$@"
"""


class ClusterFailed(Exception):
    """A daemon that does not start or a node that does not answer; the message ends with what its log says last."""


class NotStarted(ClusterFailed):
    """This machine lets no cluster begin."""


class Cluster:
    """Up between `with` and its end; then every process that came of it is gone.

    The machine's own settings in /etc are neither read nor written: daemons are told theirs, clients find them through wrappers
    which `environment` puts first in the path. (The executor takes SLURM_CONF out of a job's environment.)

    Args:
        folder: for everything that the cluster writes; short, since a socket's path has to fit into 107 bytes.
        cores, memory_mib: what the node claims to have.
    """

    def __init__(self, folder: Path, cores: int, memory_mib: int) -> None:
        self.folder = folder
        self.cores = cores
        self.memory_mib = memory_mib

    def __enter__(self) -> "Cluster":
        if ctypes.CDLL(None, use_errno=True).prctl(SUPERVISE, 1, 0, 0, 0) != 0:
            raise NotStarted(f"this kernel takes no subreaper: {os.strerror(ctypes.get_errno())}")
        try:
            self._start()
        except ClusterFailed as failed:
            self._stop()
            raise NotStarted(*failed.args) from failed
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop()

    def environment(self) -> dict[str, str]:
        """In which clients speak to this cluster and to no other."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "SBATCH_", "SRUN_"))}
        return {**kept, "PATH": f"{self.folder / 'bin'}:{kept['PATH']}"}

    def ask(self, *command: str) -> str:
        """What a client prints."""
        done = subprocess.run(command, env=self.environment(), capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise ClusterFailed(f"{' '.join(command)}: {done.stderr.strip()}")
        return done.stdout

    def jobs(self, state: str = "all") -> Mapping[str, str]:
        """The comment of each job in a state, by its number."""
        lines = self.ask("squeue", "--noheader", f"--states={state}", "--format=%i %k").splitlines()
        return dict(line.split(maxsplit=1) for line in lines)

    def _start(self) -> None:
        self.folder.chmod(0o711)  # munge wants its socket within everybody's reach
        for name in ("bin", "state", "spool"):
            (self.folder / name).mkdir()
        self._write("munge.key", secrets.token_bytes(128), 0o400)
        ports = dict(zip(("controller_port", "node_port"), _free_ports(2), strict=True))
        host = socket.gethostname().split(".")[0]
        places = {"folder": self.folder, "host": host, "cores": self.cores, "memory": self.memory_mib}
        self._write("slurm.conf", SETTINGS.format(**ports, **places).encode(), 0o600)
        for name in CLIENTS:
            self._write(f"bin/{name}", CLIENT.format(folder=self.folder, real=shutil.which(name)).encode(), 0o755)
        key, pid, seed, log = (f"--{name}-file={self.folder}/munge.{name}" for name in ("key", "pid", "seed", "log"))
        self._daemon("munged", "--foreground", f"--socket={self.folder}/munge.socket", key, pid, seed, log)
        self._until(lambda: (self.folder / "munge.socket").exists(), "munge")
        configured = ("-D", "-f", f"{self.folder}/slurm.conf")
        self._daemon("slurmctld", "-i", *configured)
        self._until(lambda: self._answers("scontrol", "ping"), "slurmctld")
        self._daemon("slurmd", *configured)
        self._until(lambda: self.ask("sinfo", "--noheader", "--format=%T").strip() == "idle", "slurmd")

    def _write(self, name: str, content: bytes, mode: int) -> None:
        (self.folder / name).write_bytes(content)
        (self.folder / name).chmod(mode)

    def _daemon(self, name: str, *options: str) -> None:
        program = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
        if program is None:
            raise ClusterFailed(f"{name} is not installed")
        with (self.folder / f"{name}.out").open("w", encoding="utf-8") as out:
            subprocess.Popen(
                [program, *options],
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )

    def _answers(self, *command: str) -> bool:
        return subprocess.run(command, env=self.environment(), capture_output=True, check=False).returncode == 0

    def _until(self, condition: Callable[[], bool], name: str) -> None:
        end = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() > end:
                logs = sorted(self.folder.glob(f"{name}*.log")) + sorted(self.folder.glob(f"{name}*.out"))
                last = "\n".join(line for log in logs for line in log.read_text(errors="replace").splitlines()[-5:])
                raise ClusterFailed(f"{name} did not answer within {PATIENCE:.0f} s:\n{last}")
            time.sleep(0.2)

    def _stop(self) -> None:
        """Every process that came of this one, jobs first asked, then killed; new ones may come until none is left."""
        for ask in (psutil.Process.terminate, psutil.Process.kill, psutil.Process.kill):
            children = psutil.Process().children(recursive=True)
            for child in children:
                try:
                    ask(child)
                except psutil.NoSuchProcess:
                    continue
            psutil.wait_procs(children, timeout=10)


def _free_ports(count: int) -> list[int]:
    opened = [socket.socket() for _ in range(count)]
    try:
        for one in opened:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in opened]
    finally:
        for one in opened:
            one.close()
