"""Every model of torchvision, of every task, and sixty of timm of unlike families, built and run once: detectors
and segmenters at 224 px.

`python -m tests.bench.bench_models` alone prints a line each, and at its end those that failed, each with its reason;
`python -m tests.bench.bench_models cuda 64 NAME …` runs these on that device, at that batch size. make bench holds that
no more than a few of timm fail, and none of torchvision.
"""

import sys
import time

import pytest

from siliconbench.knobs import registered
from siliconbench.record.named import named
from siliconbench.record.schema import Case
from siliconbench.run import passes, zoo
from siliconbench.run.vision import models as vision

TIMM = [  # of unlike families
    "beit_base_patch16_224", "botnet26t_256", "caformer_s18", "cait_xxs24_224", "coat_tiny",
    "coatnet_nano_rw_224", "convit_tiny", "convmixer_768_32", "convnext_tiny", "convnextv2_atto",
    "crossvit_tiny_240", "cs3darknet_s", "cspresnet50", "davit_tiny", "deit_tiny_patch16_224", "densenet121",
    "dla34", "dm_nfnet_f0", "dpn68", "edgenext_xx_small", "efficientformer_l1", "efficientnet_b0",
    "efficientnetv2_rw_t", "efficientvit_b0", "eva02_tiny_patch14_224", "fastvit_t8", "fbnetc_100",
    "focalnet_tiny_srf", "gcvit_xxtiny", "ghostnet_100", "halonet26t", "hardcorenas_a", "hgnet_tiny",
    "hiera_tiny_224", "hrnet_w18_small", "inception_next_tiny", "inception_v4", "levit_128s",
    "maxvit_nano_rw_256", "mixer_s16_224", "mixnet_s", "mnasnet_100", "mobilenetv4_conv_small", "mobileone_s0",
    "mobilevit_xxs", "mvitv2_tiny", "nest_tiny", "nf_resnet50", "nfnet_l0", "pit_ti_224", "poolformer_s12",
    "pvt_v2_b0", "regnetx_002", "repghostnet_050", "repvgg_a0", "repvit_m1", "res2net50_26w_4s",
    "resmlp_12_224", "resnest14d", "resnet50", "rexnet_100", "sequencer2d_s", "skresnet18",
    "swin_tiny_patch4_window7_224", "swinv2_tiny_window8_256", "tf_efficientnet_lite0", "tiny_vit_5m_224",
    "tinynet_a", "tresnet_m", "twins_svt_small", "vgg11", "visformer_tiny", "vit_small_patch16_224",
    "volo_d1_224", "xception41", "xcit_nano_12_p16_224",
]  # fmt: skip


def failure(word: str, device: str = "cpu", batch_size: int = 1) -> str:
    """Why the model of this word can't be built and run once; empty where it can."""
    start, found = time.perf_counter(), named(word)
    large = found["source"] == "torchvision" and found["model"] not in vision.list_models(module=vision)
    try:
        px = 224 if large and found["model"] != "ssd300_vgg16" else None  # that one's layers need its own 300
        bench = passes.set_up(Case(batch_size=batch_size, device=device, asked_px=px, **found))
        numbers = sum(leaf.numel() for leaf in zoo.leaves(bench.call(bench.ready_batch)))
        print(
            f"{word:<52} {bench.case.image_px:4d} px {numbers:12,d} numbers {time.perf_counter() - start:6.1f} s",
            flush=True,
        )
        return "" if numbers else "its output holds no number"
    except Exception as error:
        print(f"{word:<52} FAILED {type(error).__name__}: {error}"[:200], flush=True)
        return f"{type(error).__name__}: {error}"


def all_words() -> list[str]:
    """The words of all that is run."""
    return [*registered("torchvision"), *(f"timm:{name}" for name in TIMM if name in registered("timm"))]


def test_models_of_every_task_and_family_run():
    pytest.importorskip("timm")
    lost = {word: why for word in all_words() if (why := failure(word))}
    assert not [word for word in lost if not word.startswith("timm:")] and len(lost) < 5, lost


if __name__ == "__main__":
    device, size, *words = sys.argv[1:] or ["cpu", "1"]
    lost = {word: why for word in words or all_words() if (why := failure(word, device, int(size)))}
    print(f"{len(lost)} failed", *(f"{word}: {why}" for word, why in lost.items()), sep="\n")
