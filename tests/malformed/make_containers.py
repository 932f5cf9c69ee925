"""Makes the nasty quantized checkpoints: tests/fuzz/corpus/quantization_config/* (configs, bad_* and ok_*) and
tests/malformed/containers/*.safetensors (one module each, 8 outputs, 64 inputs, groups of 32).

    python3 tests/malformed/make_containers.py

Standard library only. What each is answered with: src/containers/malformed_test.cc.
"""
import json
import pathlib
import struct

HERE = pathlib.Path(__file__).resolve().parent
CONFIGS = HERE.parent / "fuzz" / "corpus" / "quantization_config"
TENSORS = HERE / "containers"

AWQ = {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True, "version": "gemm"}
GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 128, "desc_act": False, "sym": True}
FP8 = {"quant_method": "fp8", "activation_scheme": "dynamic"}
WEIGHTS = {"num_bits": 4, "type": "int", "symmetric": True, "strategy": "group", "group_size": 128}
TOKEN = {"num_bits": 8, "type": "int", "strategy": "token", "dynamic": True}
KV = {"num_bits": 8, "type": "float", "symmetric": True, "strategy": "tensor", "dynamic": False}


def without(config, *keys):
    return {key: value for key, value in config.items() if key not in keys}


def ct(weights=WEIGHTS, inputs=None, layout="pack-quantized", group=None, **more):
    first = {"targets": ["Linear"], "weights": weights, "input_activations": inputs, "output_activations": None}
    return {"quant_method": "compressed-tensors", "format": layout, "config_groups": {"group_0": {**first, **(group or {})}},
            "ignore": ["lm_head"], **more}


def ct_weights(**changes):
    return ct({**WEIGHTS, **changes})


CHANNEL8 = {"num_bits": 8, "strategy": "channel"}
CONFIG_CASES = {
    "ok_awq": AWQ,
    "ok_awq_native": {"quant_method": "awq", "w_bit": 4, "q_group_size": -1, "version": "GEMM"},
    "ok_gptq": {**GPTQ, "dynamic": {"-:.*down_proj": {}, "+:.*\\.18\\..*": {"bits": 8, "group_size": 64}}},
    "ok_gptq_v2": {**GPTQ, "checkpoint_format": "gptq_v2", "format": "gptq_v2", "desc_act": True,
                   "modules_in_block_to_quantize": [["self_attn.k_proj"], ["mlp.up_proj"]]},
    "ok_ct": ct({**WEIGHTS, "actorder": "group", "observer": "minmax", "observer_kwargs": {}}, ignore=["re:.*down_proj"]),
    "ok_ct_int8": ct(CHANNEL8, TOKEN, "int-quantized"),
    "ok_ct_kv_alone": {"quant_method": "compressed-tensors", "format": "dense", "config_groups": {}, "kv_cache_scheme": KV},
    "ok_ct_mixed": ct(layout="mixed-precision", group={"format": "pack-quantized"}, kv_cache_scheme=KV),
    "ok_fp8_block": {**FP8, "weight_block_size": [128, 128], "fmt": "e4m3", "ignored_layers": ["lm_head"]},
    "ok_fp8_static": {**FP8, "activation_scheme": "static", "kv_cache_scheme": "static"},
    "bad_empty": {},
    "bad_no_object": [],
    "bad_truncated": '{"quant_method": "awq", "bits": 4, "group_si',
    "bad_twice": '{"quant_method": "awq", "quant_method": "gptq", "bits": 4, "group_size": 128}',
    "bad_method": {"quant_method": "bitsandbytes", "load_in_4bit": True},
    "bad_method_type": {"quant_method": 4},
    "bad_awq_no_bits": without(AWQ, "bits"),
    "bad_awq_bits": {**AWQ, "bits": 3},
    "bad_awq_negative_bits": {**AWQ, "bits": -4},
    "bad_awq_two_bits": {**AWQ, "w_bit": 8},
    "bad_awq_group_0": {**AWQ, "group_size": 0},
    "bad_awq_group_text": {**AWQ, "group_size": "128"},
    "bad_awq_no_zero_point": {**AWQ, "zero_point": False},
    "bad_awq_version": {**AWQ, "version": "gemv_fast"},
    "bad_awq_kept": {**AWQ, "modules_to_not_convert": "lm_head"},
    "bad_awq_kv": {**AWQ, "kv_cache_scheme": KV},
    "bad_gptq_no_bits": without(GPTQ, "bits"),
    "bad_gptq_bits": {**GPTQ, "bits": 3},
    "bad_gptq_bits_float": {**GPTQ, "bits": 4.5},
    "bad_gptq_no_group": without(GPTQ, "group_size"),
    "bad_gptq_group": {**GPTQ, "group_size": -128},
    "bad_gptq_desc_act": {**GPTQ, "desc_act": "yes"},
    "bad_gptq_layout": {**GPTQ, "checkpoint_format": "marlin"},
    "bad_gptq_two_layouts": {**GPTQ, "checkpoint_format": "gptq_v2", "format": "gptq"},
    "bad_gptq_pack": {**GPTQ, "pack_dtype": "int16"},
    "bad_gptq_dynamic": {**GPTQ, "dynamic": ["-:.*"]},
    "bad_gptq_rule_regex": {**GPTQ, "dynamic": {"-:(": {}}},
    "bad_gptq_rule_body": {**GPTQ, "dynamic": {"+:.*": 4}},
    "bad_gptq_rule_out": {**GPTQ, "dynamic": {"-:.*": {"bits": 8}}},
    "bad_gptq_rule_bits": {**GPTQ, "dynamic": {".*": {"bits": 2}}},
    "bad_gptq_rule_layout": {**GPTQ, "dynamic": {".*": {"format": "gptq_v2"}}},
    "bad_gptq_inside": {**GPTQ, "modules_in_block_to_quantize": ["mlp.up_proj"]},
    "bad_ct_no_groups": without(ct(), "config_groups"),
    "bad_ct_groups_list": {**ct(), "config_groups": []},
    "bad_ct_group_text": {**ct(), "config_groups": {"group_0": "W4A16"}},
    "bad_ct_layout": ct(layout="nvfp4-pack-quantized"),
    "bad_ct_layout_group": ct(layout="mixed-precision", group={"format": "marlin-24"}),
    "bad_ct_layout_of_float": ct(layout="float-quantized"),
    "bad_ct_layout_of_4_bits": ct(layout="int-quantized"),
    "bad_ct_layout_dense": ct(layout="dense"),
    "bad_ct_layout_of_int": ct({"num_bits": 8, "type": "float", "strategy": "tensor"}, None, "pack-quantized"),
    "bad_ct_no_targets": ct(group={"targets": None}),
    "bad_ct_target_class": ct(group={"targets": ["Embedding"]}),
    "bad_ct_target_regex": ct(group={"targets": ["re:*proj"]}),
    "bad_ct_ignore_regex": ct(ignore=["re:(?P<x"]),
    "bad_ct_ignore": ct(ignore={"lm_head": True}),
    "bad_ct_strategy": ct_weights(strategy="tensor_group"),
    "bad_ct_type": ct_weights(type="uint"),
    "bad_ct_bits": ct_weights(num_bits=3),
    "bad_ct_negative_bits": ct_weights(num_bits=-8),
    "bad_ct_float_4_bits": ct_weights(type="float"),
    "bad_ct_group_size": ct_weights(group_size=0),
    "bad_ct_no_group_size": ct(without(WEIGHTS, "group_size")),
    "bad_ct_dynamic_weights": ct_weights(dynamic=True),
    "bad_ct_actorder": ct_weights(actorder="random"),
    "bad_ct_observer": ct_weights(observer=["minmax"]),
    "bad_ct_block": ct({"num_bits": 8, "type": "float", "strategy": "block", "block_structure": [64, 64]}, None,
                       "float-quantized"),
    "bad_ct_no_block": ct({"num_bits": 8, "type": "float", "strategy": "block"}, None, "float-quantized"),
    "bad_ct_inputs_type": ct(CHANNEL8, {**TOKEN, "type": "float"}, "int-quantized"),
    "bad_ct_inputs_bits": ct(CHANNEL8, {**TOKEN, "num_bits": 4}, "int-quantized"),
    "bad_ct_inputs_strategy": ct(CHANNEL8, {**TOKEN, "strategy": "channel"}, "int-quantized"),
    "bad_ct_inputs_static": ct(CHANNEL8, {**TOKEN, "dynamic": False}, "int-quantized"),
    "bad_ct_inputs_local": ct(CHANNEL8, {**TOKEN, "dynamic": "local"}, "int-quantized"),
    "bad_ct_inputs_zero_points": ct(CHANNEL8, {**TOKEN, "symmetric": False}, "int-quantized"),
    "bad_ct_inputs_alone": ct(None, TOKEN),
    "bad_ct_outputs": ct(CHANNEL8, TOKEN, "int-quantized", {"output_activations": TOKEN}),
    "bad_ct_kv_int8": ct(kv_cache_scheme={**KV, "type": "int"}),
    "bad_ct_kv_bits": ct(kv_cache_scheme={**KV, "num_bits": 4}),
    "bad_ct_kv_heads": ct(kv_cache_scheme={**KV, "strategy": "attn_head"}),
    "bad_ct_kv_dynamic": ct(kv_cache_scheme={**KV, "dynamic": True}),
    "bad_ct_kv_zero_points": ct(kv_cache_scheme={**KV, "symmetric": False}),
    "bad_ct_sparse": ct(sparsity_config={"format": "sparse-24-bitmask"}),
    "bad_ct_transform": ct(transform_config={"config_groups": {"u": {}}}),
    "bad_fp8_no_scheme": {"quant_method": "fp8"},
    "bad_fp8_scheme": {**FP8, "activation_scheme": "per-head"},
    "bad_fp8_format": {**FP8, "fmt": "e5m2"},
    "bad_fp8_block": {**FP8, "weight_block_size": [64, 64]},
    "bad_fp8_block_count": {**FP8, "weight_block_size": [128]},
    "bad_fp8_block_static": {**FP8, "activation_scheme": "static", "weight_block_size": [128, 128]},
    "bad_fp8_kv": {**FP8, "kv_cache_scheme": "dynamic"},
    "bad_fp8_ignored": {**FP8, "ignored_layers": "lm_head"},
}

OUT, IN, GROUPS = 8, 64, 2
WIDTH = {"I64": 8, "I32": 4, "F32": 4, "F16": 2, "BF16": 2, "I8": 1, "F8_E4M3": 1}
CODE = {"I64": "q", "I32": "i", "F32": "f", "F16": "e", "I8": "b"}


def tensor(dtype, shape, values):
    """values: a list, or one number for all."""
    n = 1
    for size in shape:
        n *= size
    values = values if isinstance(values, list) else [values] * n
    if dtype in CODE:
        data = struct.pack(f"<{n}{CODE[dtype]}", *values)
    else:  # BF16 and F8_E4M3: bit patterns
        data = b"".join(value.to_bytes(WIDTH[dtype], "little") for value in values)
    assert len(data) == n * WIDTH[dtype]
    return dtype, list(shape), data


def safetensors(tensors):
    header, data = {}, b""
    for name, (dtype, shape, content) in sorted(tensors.items(), key=lambda item: -WIDTH[item[1][0]]):
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(content)]}
        data += content
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data


EIGHTS, SEVENS = -0x77777778, 0x77777777  # words of nibbles 8 and 7
HALF = 0x38  # e4m3
ORDER = [k * GROUPS // IN for k in range(IN)]
GOOD = {
    "awq": {"qweight": tensor("I32", (IN, 1), EIGHTS), "qzeros": tensor("I32", (GROUPS, 1), EIGHTS),
            "scales": tensor("F16", (GROUPS, OUT), 0.5)},
    "gptq": {"qweight": tensor("I32", (IN // 8, OUT), EIGHTS), "qzeros": tensor("I32", (GROUPS, 1), SEVENS),
             "scales": tensor("F16", (GROUPS, OUT), 0.5), "g_idx": tensor("I32", (IN,), ORDER)},
    "ct_int4": {"weight_packed": tensor("I32", (OUT, IN // 8), EIGHTS), "weight_shape": tensor("I64", (2,), [OUT, IN]),
                "weight_scale": tensor("F16", (OUT, GROUPS), 0.5), "weight_zero_point": tensor("I32", (1, GROUPS), EIGHTS)},
    "ct_int8": {"weight": tensor("I8", (OUT, IN), 1), "weight_scale": tensor("F32", (OUT, 1), 0.5),
                "input_scale": tensor("F32", (1,), 0.5)},
    "fp8": {"weight": tensor("F8_E4M3", (OUT, IN), HALF), "weight_scale": tensor("F32", (1,), 0.5),
            "input_scale": tensor("F32", (1,), 0.5)},
    "fp8_block": {"weight": tensor("F8_E4M3", (OUT, IN), HALF), "weight_scale_inv": tensor("F32", (1, 1), 0.5)},
    "kv": {"k_scale": tensor("F32", (1,), 0.5), "v_scale": tensor("F32", (1,), 0.25)},
}
NAN, INF = float("nan"), float("inf")
TENSOR_CASES = {  # None: the tensor is left out
    "awq_ok": {},
    "awq_packed_along_inputs": {"qweight": tensor("I32", (IN // 8, OUT), 0)},
    "awq_qweight_dtype": {"qweight": tensor("I64", (IN, 1), 0)},
    "awq_qweight_missing": {"qweight": None},
    "awq_qzeros_shape": {"qzeros": tensor("I32", (1, 1), 0)},
    "awq_qzeros_missing": {"qzeros": None},
    "awq_scales_of_other_groups": {"scales": tensor("F16", (1, OUT), 0.5)},
    "awq_scales_missing": {"scales": None},
    "awq_scales_dtype": {"scales": tensor("I32", (GROUPS, OUT), 1)},
    "awq_scales_nan": {"scales": tensor("F16", (GROUPS, OUT), [0.5] * 15 + [NAN])},
    "awq_scales_beyond_f16": {"scales": tensor("F32", (GROUPS, OUT), 65520.0)},
    "gptq_ok": {},
    "gptq_packed_for_8_bits": {"qweight": tensor("I32", (IN // 4, OUT), 0)},
    "gptq_qzeros_shape": {"qzeros": tensor("I32", (GROUPS, OUT), SEVENS)},
    "gptq_qzeros_off_middle": {"qzeros": tensor("I32", (GROUPS, 1), EIGHTS)},
    "gptq_scales_missing": {"scales": None},
    "gptq_scales_infinite": {"scales": tensor("F16", (GROUPS, OUT), INF)},
    "gptq_g_idx_dtype": {"g_idx": tensor("I64", (IN,), ORDER)},
    "gptq_g_idx_length": {"g_idx": tensor("I32", (IN // 2,), ORDER[:IN // 2])},
    "gptq_g_idx_beyond": {"g_idx": tensor("I32", (IN,), ORDER[:-1] + [GROUPS])},
    "gptq_g_idx_negative": {"g_idx": tensor("I32", (IN,), [-1] + ORDER[1:])},
    "gptq_g_idx_uneven": {"g_idx": tensor("I32", (IN,), ORDER[:-1] + [0])},
    "gptq_g_idx_without_order": {"g_idx": tensor("I32", (IN,), ORDER[::-1])},
    "gptq_order_without_g_idx": {"g_idx": None},
    "gptq_zeros_of_16": {"qzeros": tensor("I32", (GROUPS, 1), -1)},
    "ct_int4_ok": {},
    "ct_int4_packed_shape": {"weight_packed": tensor("I32", (OUT, IN // 4), 0)},
    "ct_int4_not_packed": {"weight_packed": None, "weight": tensor("I8", (OUT, IN), 1)},
    "ct_int4_other_shape": {"weight_shape": tensor("I64", (2,), [IN, OUT])},
    "ct_int4_shape_dtype": {"weight_shape": tensor("F32", (2,), [OUT, IN])},
    "ct_int4_shape_missing": {"weight_shape": None},
    "ct_int4_zeros_missing": {"weight_zero_point": None},
    "ct_int4_zeros_shape": {"weight_zero_point": tensor("I32", (OUT, GROUPS), 0)},
    "ct_int4_zeros_beyond": {"weight_zero_point": tensor("I8", (OUT, GROUPS), [0] * 15 + [8])},
    "ct_int4_scale_shape": {"weight_scale": tensor("F16", (OUT, 1), 0.5)},
    "ct_int8_ok": {},
    "ct_int8_weight_dtype": {"weight": tensor("F8_E4M3", (OUT, IN), HALF)},
    "ct_int8_scale_per_tensor": {"weight_scale": tensor("F32", (1,), 0.5)},
    "ct_int8_no_input_scale": {"input_scale": None},
    "ct_int8_input_scale_negative": {"input_scale": tensor("F32", (1,), -0.5)},
    "ct_int8_input_zero_point": {"input_zero_point": tensor("I8", (1,), 3)},
    "fp8_ok": {},
    "fp8_weight_dtype": {"weight": tensor("BF16", (OUT, IN), 0x3f80)},
    "fp8_weight_nan": {"weight": tensor("F8_E4M3", (OUT, IN), [HALF] * (OUT * IN - 1) + [0x7f])},
    "fp8_scale_missing": {"weight_scale": None},
    "fp8_two_scales": {"weight_scale": tensor("F32", (2,), 0.5)},
    "fp8_scale_zero": {"weight_scale": tensor("F32", (1,), 0.0)},
    "fp8_scale_dtype": {"weight_scale": tensor("I32", (1,), 1)},
    "fp8_block_ok": {},
    "fp8_block_scale_shape": {"weight_scale_inv": tensor("F32", (OUT, 1), 0.5)},
    "fp8_block_scale_name": {"weight_scale_inv": None, "weight_scale": tensor("F32", (1, 1), 0.5)},
    "kv_ok": {},
    "kv_no_k": {"k_scale": None},
    "kv_negative": {"v_scale": tensor("F32", (1,), -1.0)},
    "kv_per_head": {"v_scale": tensor("F32", (2,), 1.0)},
}


def main():
    for folder in (CONFIGS, TENSORS):
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.iterdir():
            old.unlink()
    for name, config in CONFIG_CASES.items():
        (CONFIGS / name).write_text(config if isinstance(config, str) else json.dumps(config))
    for name, changes in TENSOR_CASES.items():
        base = max((kind for kind in GOOD if name.startswith(kind + "_")), key=len)
        module = "model.layers.0.self_attn." if base == "kv" else "m."
        tensors = {module + key: value for key, value in {**GOOD[base], **changes}.items() if value is not None}
        (TENSORS / f"{name}.safetensors").write_bytes(safetensors(tensors))
    whole = (TENSORS / "gptq_ok.safetensors").read_bytes()
    (TENSORS / "gptq_truncated.safetensors").write_bytes(whole[:-100])


main()
