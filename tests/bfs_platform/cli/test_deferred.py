"""What a cold start leaves on the disk, and that all of it is there as soon as somebody asks."""

import json
import subprocess
import sys

import pytest

# Parts of each deferred module that only exist once its code has run.
HEAVY = {
    "torch._dynamo.convert_frame",
    "torch.export.exported_program",
    "torch.distributed.tensor._ops",
    "sympy",
    "scipy.stats._stats_py",
    "scipy.optimize._optimize",
    "scipy.integrate._quadrature",
    "peft.auto",
    "boto3.session",
    "diffusers.models.transformers.transformer_wan",
    "diffusers.models.autoencoders.autoencoder_kl_wan",
    "transformers.models.siglip.modeling_siglip",
    "transformers.models.bloom.modeling_bloom",
}


def _run(code: str, env: dict[str, str]) -> str:
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_loading_the_embedded_model_runs_none_of_them(bare_env) -> None:
    """Loading `tiny` to draw runs no deferred module, hashes every byte of the bundle once and leaves the reference encoder."""
    code = """
import json, sys
from bfs_model import integrity
hashed, plain = [], integrity.sha256_file
integrity.sha256_file = lambda path: hashed.append(str(path)) or plain(path)
from bfs_platform.cli import deferred, models
loaded = models.load_model("tiny", reference=False)
print(json.dumps({"modules": sorted(sys.modules), "waiting": deferred.waiting(), "hashed": hashed,
                  "encoder": loaded.pipeline.image_encoder is None, "deferred": list(deferred.DEFERRED)}))
"""
    found = json.loads(_run(code, bare_env).splitlines()[-1])
    assert not HEAVY & set(found["modules"])
    assert set(found["waiting"]) == set(found["deferred"]) & set(found["modules"])
    assert len(found["hashed"]) == len(set(found["hashed"])) == 25
    assert found["encoder"]


USES = {
    "compiler": """
import torch
from torch import _dynamo
@_dynamo.allow_in_graph
def marked(x):
    return x * 3
@torch.compiler.disable
def eager(x):
    return torch.compiler.is_compiling(), x + 1
assert eager(1) == (False, 2) and deferred.waiting()
double = torch.compile(lambda x: marked(x) * 2, backend="eager", fullgraph=True)
assert double(torch.ones(2)).tolist() == [6, 6]
assert torch.compile(lambda x: eager(x * 2), backend="eager")(torch.ones(1))[0] is False
assert "torch._dynamo" not in deferred.waiting()
""",
    "assignment": """
import numpy as np
from transformers.loss.loss_for_object_detection import linear_sum_assignment
assert "scipy.optimize" in deferred.waiting()
assert linear_sum_assignment(np.array([[4, 1], [2, 0]]))[1].tolist() == [1, 0]
import scipy.stats
assert abs(scipy.stats.norm.cdf(0) - 0.5) < 1e-9
""",
    "adapters": """
import torch
from peft import LoraConfig, get_peft_model, PeftModel
from diffusers.hooks.layerwise_casting import BaseTunerLayer
network = get_peft_model(torch.nn.Sequential(torch.nn.Linear(2, 2)), LoraConfig(target_modules=["0"]))
assert isinstance(network, PeftModel) and any(isinstance(part, BaseTunerLayer) for part in network.modules())
""",
    "placements": """
from transformers.distributed.tensor_parallel import ALL_PARALLEL_STYLES
layout = ALL_PARALLEL_STYLES["colwise"].output_layouts
assert "torch.distributed.tensor" in deferred.waiting()
from torch.distributed.tensor import DTensor, Shard
assert isinstance(layout, Shard) and layout == Shard(-1) and layout.dim == -1 and hash(layout) == hash(Shard(-1))
""",
    "distributions": """
import importlib.metadata
from diffusers.utils import import_utils
assert type(import_utils._package_map).__name__ == "_Distributions"
assert import_utils._package_map["PIL"] == ["pillow"] == importlib.metadata.packages_distributions()["PIL"]
assert "nothing" not in import_utils._package_map and len(import_utils._package_map) > 20
""",
    "indexes": """
from diffusers.models.transformers import PixArtTransformer2DModel
from diffusers import AutoencoderKLWan
import transformers
assert transformers.BertModel.__name__ == "BertModel" and transformers.__version__
from transformers import AutoTokenizer, PreTrainedModel
from transformers.processing_utils import ProcessorMixin
from transformers.models.bert import BertConfig
assert issubclass(transformers.CLIPTextModel, PreTrainedModel)
""",
}


@pytest.mark.parametrize("name", USES)
def test_a_deferred_module_is_real_when_used(name, bare_env) -> None:
    """What is asked of a stand-in is answered by the module itself, after the libraries were imported past it."""
    code = f"""
from bfs_platform.cli import deferred
deferred.install()
from bfs_model import BFSPipeline
from transformers.models.clip.modeling_clip import CLIPTextModel
{USES[name]}
print("done")
"""
    assert _run(code, bare_env).splitlines()[-1] == "done"
