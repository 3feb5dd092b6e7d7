"""The loop compiles, and does what it does uncompiled, with every product on every kind of processor."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.timeout(1800)

# What torch and oneDNN are to do without.
PROCESSORS = {
    "this one": {},
    "AVX2": {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"},
    "no vectors": {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "AVX2"},
}
EVERY_PRODUCT = """
import os, sys, warnings
sys.path.insert(0, {folder!r})
import torch
from plain_forward import learn, make_network, make_rows, relative_error
from ffstream.ff.lesson import Phase
from ffstream.ff.measured import VARIABLE
from ffstream.ff.products import Way

warnings.simplefilter("ignore")
for way in Way:
    os.environ[VARIABLE] = way
    fused, eager = (make_network("disjoint", hidden=(20,)) for _ in range(2))
    fused.fuse(8, [Phase.WAKE])
    assert fused.compiled is not None, way
    assert fused.products() == [way], way
    with torch.compiler.set_stance("fail_on_recompile"):
        for m, queries in ((1, 0), (6, 0), (6, 5), (20, 0), (60, 7)):
            found, expected = (learn(net, make_rows(m + queries), m, Phase.WAKE).total for net in (fused, eager))
            assert relative_error(found, expected) < 1e-4, way
            assert relative_error(fused.layers[0].weight, eager.layers[0].weight) < 1e-4, way
        for n in (1, 5, 20, 70):
            found, expected = (net.sweep(make_rows(n)).total for net in (fused, eager))
            assert relative_error(found, expected) < 1e-4, way
print(torch.backends.cpu.get_cpu_capability())
"""


@pytest.mark.parametrize("processor", PROCESSORS)
def test_the_loop_compiles_with_every_product_on_every_processor(processor, tmp_path):
    code = EVERY_PRODUCT.format(folder=str(Path(__file__).parent))
    # torch takes what it finds in its cache for made for this processor.
    cache = {"TORCHINDUCTOR_CACHE_DIR": str(tmp_path)} if PROCESSORS[processor] else {}
    environment = {**os.environ, **PROCESSORS[processor], **cache}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    forced = PROCESSORS[processor].get("ATEN_CPU_CAPABILITY", "")
    assert done.stdout.strip().lower().startswith(forced)
