"""What a run ran on: the machine and its state, and the software. Nothing that tells whose it is."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from siliconbench.record import fields


class Level(fields.Model):
    """The cores of one kind."""

    name: fields.Name
    cores: fields.Positive


class Gpu(fields.Section):
    """One GPU, and the limits that it is set to. pcie: its link's best generation, and width in use; mig: a share."""

    name: fields.Name
    cores: fields.Positive | None
    memory_bytes: fields.Positive | None
    power_limit_w: fields.Amount | None
    power_limit_default_w: fields.Amount | None
    max_clock_mhz: fields.Amount | None
    max_memory_clock_mhz: fields.Amount | None
    pcie_generation: fields.Positive | None
    pcie_width: fields.Positive | None
    mig: bool | None

    @property
    def title(self) -> str:
        """Its name, and how many cores it has."""
        return f"{self.name}, {self.cores} cores" if self.cores else self.name


class Machine(fields.Section):
    """What the machine is, never whose. gpus: that which was measured first; smt: a core runs two threads."""

    slug: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,47}$")]
    chip: fields.Name | None
    model: fields.Name | None
    cores: fields.Positive | None
    logical_cores: fields.Positive | None
    core_levels: Annotated[list[Level], Field(max_length=8)] | None
    gpus: Annotated[list[Gpu], Field(max_length=64)] | None
    memory_bytes: fields.Positive | None
    os: fields.Name | None
    os_build: fields.Name | None
    arch: fields.Name | None
    driver: fields.Name | None
    smt: bool | None
    container: bool | None
    wsl: bool | None
    rosetta: bool | None  # translated

    @property
    def part(self) -> str | None:
        """The part that it is known by: its NVIDIA GPU, else its chip."""
        gpu = self.gpus[0].name if self.gpus else ""
        return gpu if gpu and (self.driver or "nvidia" in gpu.lower()) else self.chip or gpu or self.arch

    @property
    def gpu_cores(self) -> str:
        """Its GPU's cores in words, where one name stands for several numbers of them (a Mac's); else empty."""
        cores = self.gpus[0].cores if self.gpus and not self.driver else None
        return f"{cores} GPU cores" if cores else ""

    @property
    def title(self) -> str:
        """What it is, as people are shown it: NVIDIA H100 80GB HBM3, 16 cores; its memory where the chip uses that."""
        cores = f"{self.cores} core{'' if self.cores == 1 else 's'}" if self.cores else ""
        apart = self.chip and self.part != self.chip  # a card, which has its own
        memory = f"{self.memory_bytes / 2**30:.0f} GiB" if self.memory_bytes and not apart else ""
        known = (self.part or "unknown chip", cores, self.gpu_cores, memory, "WSL2" if self.wsl else "")
        return ", ".join(filter(None, known))


class Software(fields.Section):
    """What ran: versions, and the device, threads and flags as torch read them back.

    environment: the variables that change arithmetic or threads; process: what measured, a kernel, or schema.AGAIN."""

    siliconbench: fields.Name
    commit: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{7,40}(\+changes)?$")] | None
    python: fields.Name
    torch: fields.Name | None
    torchvision: fields.Name | None
    device_name: fields.Name | None
    device_memory_bytes: fields.Positive | None
    cuda: fields.Name | None
    cudnn: fields.Name | None
    threads: fields.Positive | None
    interop_threads: fields.Positive | None
    tf32_matmul: bool | None
    tf32_convolution: bool | None
    cudnn_benchmark: bool | None
    hip: fields.Name | None
    device_arch: fields.Name | None
    environment: Annotated[dict[fields.Name, fields.Text], Field(default_factory=dict, max_length=64)]
    model_fingerprint: fields.Name | None
    process: fields.Name = "kernel"


class State(fields.Section):
    """The machine's power and load at one moment."""

    power_source: Literal["mains", "battery"] | None
    battery_percent: fields.Amount | None
    power_mode: fields.Name | None
    governor: fields.Name | None
    thermal_pressure: fields.Name | None
    load_1m: fields.Amount | None
    swap_used_bytes: fields.Count | None
    free_memory_bytes: fields.Count | None
