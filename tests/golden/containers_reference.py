"""What the code of others computes with a quantized directory: for make_containers_golden.py and tools/check_containers.py.

Readers. transformers opens the directory itself, in float32 on the CPU: with compressed-tensors, with gptqmodel and
optimum (GPTQ, AutoAWQ), with its own fine-grained fp8 (blocks). It has no reader of fp8 with a scale per tensor: those
weights are codes times scales by vLLM's formula. gptqmodel's linears for AVX-512, which transformers gets, multiply in
half precision; `exact` and `rounded` take their weights from gptqmodel's float32 code. Weights are taken out of a model
as its own linears applied to the identity.

Arithmetic. `theirs`: the model as opened, with activations quantized where the reader does so (compressed-tensors).
`exact`: those weights in float32, no rounding at all; `rounded`: likewise, with what the engine and vLLM document for the
activations:
  16-bit   inputs of quantized linears rounded to bf16; of others, and k and v of the cache, to the model's dtype
  int8     per token: scale = amax / 127, codes of x * (127 / amax); static: codes of x / scale
  fp8      per token: scale = max(amax, 1/512) / 448, codes of x / scale; static: codes of x * (1 / scale);
           blocks: per token and 128 inputs, scale = max(amax, 1e-10) / 448
  fp8 cache  codes of k / k_scale and v / v_scale
One fp8 scale per tensor: both with the weights requantized as engines that fuse them do.
"""
import importlib.metadata
import json
import pathlib
import shutil
import tempfile

import tokenizers
import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, eager_mask
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

E4M3_MAX = 448.0


def quantization_of(directory):
    return json.loads((pathlib.Path(directory) / "config.json").read_text())["quantization_config"]


def save_tokenizer(directory):
    """For writers and readers that ask for one and don't use it."""
    size = transformers.AutoConfig.from_pretrained(directory).vocab_size
    words = tokenizers.models.WordLevel({f"t{i}": i for i in range(size)}, unk_token="t0")
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizers.Tokenizer(words), pad_token="t0", bos_token="t1",
                                         eos_token="t2").save_pretrained(directory)


def open_gptqmodel(directory):
    from gptqmodel import BACKEND, GPTQModel
    with tempfile.TemporaryDirectory() as copy:
        shutil.copytree(directory, copy, dirs_exist_ok=True)
        pathlib.Path(copy, "golden.safetensors").unlink(missing_ok=True)
        if not pathlib.Path(copy, "tokenizer.json").exists():
            save_tokenizer(copy)
        return GPTQModel.load(copy, backend=BACKEND.TORCH, device="cpu", dtype=torch.float16).model.float().eval()


def open_theirs(directory):
    config = quantization_of(directory)
    if config.get("dynamic"):  # GPTQ's rules for modules: transformers does not read them
        return open_gptqmodel(directory)
    model = transformers.AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32, device_map="cpu",
                                                              attn_implementation="eager").eval()
    return model.float() if config["quant_method"] == "fp8" else model  # it leaves norms in bf16


def linears(model):
    """Names of all linears of the layers, quantized ones of whatever class too."""
    return [name for name, module in model.named_modules() if name.startswith("model.layers.") and name.endswith("_proj")]


def awq_weight(module):
    """gptqmodel multiplies in half precision."""
    from gptqmodel.quantization.awq.utils.packing_utils import dequantize_gemm
    return dequantize_gemm(module.qweight, module.qzeros, module.scales.float(), module.bits, module.group_size).T.contiguous()


def identity_outputs(module):
    with torch.no_grad():
        bias = None if module.bias is None else module.bias.clone()
        if bias is not None:
            module.bias.zero_()
        weight = module(torch.eye(module.in_features)).T.float().contiguous()
        if bias is not None:
            module.bias.copy_(bias)
    return weight


FUSED = {"q_proj": "qkv", "k_proj": "qkv", "v_proj": "qkv", "gate_proj": ("gate", "up"), "up_proj": ("gate", "up")}


def fused_with(module):
    prefix, _, own = module.rpartition(".")
    return [f"{prefix}.{part}_proj" for part in FUSED[own]] if own in FUSED else [module]


def checkpoint_tensors(directory):
    return load_file(pathlib.Path(directory) / "model.safetensors")


def tensor_scaled_fp8(directory, fused):
    """Weights with one fp8 scale each. `fused`: as engines that multiply q, k, v and gate, up as one: the largest scale
    becomes that of all, the others are decoded through half precision and rounded anew (vLLM's
    requantize_with_max_scale)."""
    tensors = checkpoint_tensors(directory)
    weights = {}
    for name in [n.removesuffix(".weight_scale") for n in tensors if n.endswith(".weight_scale")]:
        scale, *others = (tensors[m + ".weight_scale"].float().reshape(()) for m in [name] + fused_with(name))
        codes, largest = tensors[name + ".weight"], max(others) if fused else scale
        if scale != largest:
            halves = (codes.float() * scale).half().float()
            codes = e4m3(halves * (1 / largest))
        weights[name] = codes.float() * largest
    return weights


def is_tensor_scaled_fp8(directory):
    return any(name.endswith(".weight_scale") and t.dim() <= 1 for name, t in checkpoint_tensors(directory).items())


def dense_copy(directory, weights):
    """A plain float32 model with the directory's other tensors and these weights."""
    config = transformers.AutoConfig.from_pretrained(directory)
    del config.quantization_config
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation="eager").eval()
    state = {name: t.float() for name, t in checkpoint_tensors(directory).items()
             if not any(name.startswith(module + ".") for module in weights) or name.endswith(".bias")}
    state |= {f"{module}.weight": weight for module, weight in weights.items()}
    missing, unexpected = model.load_state_dict(state, strict=False)
    unexpected = [name for name in unexpected if not name.endswith(("k_scale", "v_scale"))]
    assert not unexpected and set(missing) <= {"lm_head.weight"}, (missing, unexpected)
    model.tie_weights()
    return model


def act_ordered(directory):
    """compressed-tensors with weight_g_idx, by a version of its own decompression that knows it (0.10)."""
    from compressed_tensors.compressors.quantized_compressors.pack_quantized import PackedQuantizationCompressor
    from compressed_tensors.quantization import QuantizationArgs
    args = QuantizationArgs(**quantization_of(directory)["config_groups"]["group_0"]["weights"])
    tensors = checkpoint_tensors(directory)
    weights = {}
    for name in [n.removesuffix(".weight_packed") for n in tensors if n.endswith(".weight_packed")]:
        parts = {kind: tensors[f"{name}.{kind}"] for kind in ("weight_packed", "weight_shape", "weight_g_idx")}
        scale = tensors[name + ".weight_scale"].float()
        weights[name] = PackedQuantizationCompressor().decompress_weight(parts | {"weight_scale": scale}, args)
    return weights


def packed_zero_points(directory):
    """compressed-tensors 0.20's own decompression. (Its model as transformers opens it wants them unpacked, as they are
    not what it then decompresses: no such checkpoint loads, whoever wrote it. 0.19 opens it.)"""
    from compressed_tensors.compressors.pack_quantized.base import PackedQuantizationCompressor
    from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
    args = QuantizationArgs(**quantization_of(directory)["config_groups"]["group_0"]["weights"])
    scheme = QuantizationScheme(targets=["Linear"], weights=args)
    tensors = checkpoint_tensors(directory)
    weights = {}
    for name in [n.removesuffix(".weight_packed") for n in tensors if n.endswith(".weight_packed")]:
        parts = {kind: tensors[f"{name}.{kind}"] for kind in ("weight_packed", "weight_shape", "weight_zero_point")}
        parts["weight_scale"] = tensors[name + ".weight_scale"].float()
        weights[name] = PackedQuantizationCompressor.decompress(parts, scheme)["weight"]
    return weights


def decoded_weights(directory):
    """(module -> float32 weight of the linears of the layers, the model as opened or None)."""
    if any(name.endswith(".weight_g_idx") for name in checkpoint_tensors(directory)):
        return act_ordered(directory), None
    if (any(name.endswith(".weight_zero_point") for name in checkpoint_tensors(directory))
            and importlib.metadata.version("compressed-tensors").startswith("0.20.")):
        return packed_zero_points(directory), None
    if quantization_of(directory)["quant_method"] == "fp8" and is_tensor_scaled_fp8(directory):
        return tensor_scaled_fp8(directory, fused=False), None
    theirs, config = open_theirs(directory), quantization_of(directory)
    with torch.no_grad():
        theirs(torch.tensor([[0]]))  # compressed-tensors decompresses at the first call
    weights = {}
    source = open_gptqmodel(directory) if config["quant_method"] == "gptq" else theirs
    for name in linears(source):
        module = source.get_submodule(name)
        module.quantization_enabled = False  # compressed-tensors: weights alone
        weights[name] = awq_weight(module) if hasattr(module, "qzeros") and config["quant_method"] == "awq" else (
            identity_outputs(module))
        module.quantization_enabled = True
    return weights, theirs


def e4m3(x):
    return x.clamp(-E4M3_MAX, E4M3_MAX).to(torch.float8_e4m3fn).float()


def int8_per_token(x):
    amax = x.abs().amax(-1, keepdim=True)
    return (x * (127 / amax)).round().clamp(-128, 127) * (amax / 127)


def fp8_per_token(x, least=1 / 512):
    scale = x.abs().amax(-1, keepdim=True).clamp(min=least) / E4M3_MAX
    return e4m3(x / scale) * scale


def fp8_per_block(x):
    return fp8_per_token(x.unflatten(-1, (-1, 128)), 1e-10).flatten(-2)


def input_rounding(directory):
    """module -> what becomes of its inputs."""
    config = quantization_of(directory)
    scales = {name.removesuffix(".input_scale"): t.float().reshape(())
              for name, t in checkpoint_tensors(directory).items() if name.endswith(".input_scale")}

    def static(module, codes):
        scale = max(scales[part] for part in fused_with(module))  # they see the same inputs
        return lambda x: codes(x, scale) * scale

    if config["quant_method"] == "fp8":
        if config.get("weight_block_size"):
            return lambda module: fp8_per_block
        if config["activation_scheme"] == "dynamic":
            return lambda module: fp8_per_token
        return lambda module: static(module, lambda x, scale: e4m3(x * (1 / scale)))
    if config["quant_method"] == "compressed-tensors":
        inputs = [group["input_activations"] for group in config["config_groups"].values()]
        assert all(i == inputs[0] for i in inputs)
        if inputs[0]:
            is_int = inputs[0]["type"] == "int"
            if not inputs[0]["dynamic"]:
                codes = ((lambda x, s: (x / s).round().clamp(-128, 127)) if is_int else (lambda x, s: e4m3(x * (1 / s))))
                return lambda module: static(module, codes)
            if inputs[0]["strategy"] == "group":
                return lambda module: fp8_per_block
            return lambda module: int8_per_token if is_int else fp8_per_token
    return lambda module: bf16


def bf16(x):
    return x.bfloat16().float()


def use_rounded(model, directory):
    rounding = input_rounding(directory)
    quantized = {name.rpartition(".")[0] for name, t in checkpoint_tensors(directory).items()
                 if name.endswith(("_scale", "_scale_inv", ".scales"))}
    config = json.loads((pathlib.Path(directory) / "config.json").read_text())
    dtype = getattr(torch, config.get("dtype") or config.get("torch_dtype"))
    for name in linears(model):
        rule = rounding(name) if name in quantized else lambda x: x.to(dtype).float()
        model.get_submodule(name).register_forward_pre_hook(lambda module, inputs, rule=rule: (rule(inputs[0]),))
    model.lm_head.register_forward_pre_hook(lambda module, inputs: (inputs[0].to(dtype).float(),))
    eager = __import__(type(model).__module__, fromlist=["eager_attention_forward"]).eager_attention_forward

    tensors = checkpoint_tensors(directory)

    def cached(x, layer, which):
        scale = tensors.get(f"model.layers.{layer}.self_attn.{which}_scale")
        return x.to(dtype).float() if scale is None else e4m3(x / scale.float()) * scale.float()

    def attention(module, query, key, value, *args, **kwargs):
        return eager(module, query, cached(key, module.layer_idx, "k"), cached(value, module.layer_idx, "v"), *args, **kwargs)

    ALL_ATTENTION_FUNCTIONS.register("eager_rounded_cache", attention)
    ALL_MASK_ATTENTION_FUNCTIONS.register("eager_rounded_cache", eager_mask)
    model.config._attn_implementation = "eager_rounded_cache"


class Reference:
    """logits(tokens) -> [n, vocab] by the name of the arithmetic."""

    def __init__(self, directory):
        weights, theirs = decoded_weights(directory)
        self.models = {"theirs": theirs or dense_copy(directory, weights)}
        if is_tensor_scaled_fp8(directory):
            weights |= tensor_scaled_fp8(directory, fused=True)
        self.models |= {"exact": dense_copy(directory, weights), "rounded": dense_copy(directory, weights)}
        use_rounded(self.models["rounded"], directory)

    def logits(self, tokens):
        with torch.no_grad():
            return {name: model(torch.tensor([tokens])).logits[0].float() for name, model in self.models.items()}

    def write_golden(self, file, sequences, n_positions):
        """For sequence i: tokens.i I32 [n]; positions.i I32 [p], those whose logits are kept; theirs.i, exact.i and
        rounded.i F32 [p, vocab]. Returns a line for people."""
        tensors, worst = {}, []
        for i, tokens in enumerate(sequences):
            positions = torch.linspace(0, len(tokens) - 1, n_positions).round().long().unique()
            logits = {name: t[positions].contiguous() for name, t in self.logits(tokens).items()}
            tensors |= {f"{name}.{i}": t for name, t in logits.items()}
            tensors |= {f"tokens.{i}": torch.tensor(tokens, dtype=torch.int32), f"positions.{i}": positions.int()}
            worst.append([logits["exact"].abs().max(), (logits["rounded"] - logits["exact"]).abs().max(),
                          (logits["theirs"] - logits["exact"]).abs().max()])
        save_file(tensors, file)
        largest, rounding, apart = torch.tensor(worst).amax(0).tolist()
        return f"|logit| <= {largest:.2f}, rounding moves it by {rounding:.2e}, theirs is {apart:.2e} from exact"
