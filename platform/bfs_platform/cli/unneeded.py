"""What `bfs_platform.cli.deferred` defers: modules that a drawing does not need, with the names that their importers take at once."""

# Module -> the names that it lends. Of a name with "()" objects are made late; "@" says which module within has the name, "=" which
# other module has it, imported already.
DEFERRED: dict[str, tuple[str, ...]] = {
    "boto3": (),
    "diffusers.models.autoencoders": (),
    "diffusers.models.transformers": (),
    "diffusers.models.unets": (),
    "peft": ("PeftModel",),
    "peft.helpers": ("disable_input_dtype_casting",),
    "peft.tuners": (),
    "peft.tuners.tuners_utils": ("BaseTunerLayer",),
    "scipy.integrate": (),
    "scipy.optimize": ("linear_sum_assignment",),
    "scipy.stats": (),
    "torch._dynamo": ("eval_frame.OptimizedModule",),
    "torch._dynamo._trace_wrapped_higher_order_op": ("TransformGetItemToIndex",),
    "torch.distributed._composable.fsdp": ("fully_shard",),
    "torch.distributed.checkpoint": (),
    "torch.distributed.checkpoint.hf_storage": ("HuggingFaceStorageReader", "HuggingFaceStorageWriter"),
    "torch.distributed.fsdp": ("CPUOffloadPolicy", "MixedPrecisionPolicy"),
    "torch.distributed.tensor": ("DTensor", "Partial()", "Replicate()", "Shard()", "distribute_tensor"),
    "torch.distributed.tensor._utils": ("compute_local_shape_and_global_offset",),
    "torch.distributed.tensor.placement_types": ("Shard()", "_StridedShard()"),
    "torch.export": (),
    "transformers": ("AutoImageProcessor@models.auto.image_processing_auto", "PreTrainedModel@modeling_utils"),
    "transformers.models": (),
    "transformers.processing_utils": ("Unpack=typing",),
    "transformers.utils.auto_docstring": (
        "ClassAttrs",
        "ClassDocstring",
        "ImageProcessorArgs",
        "ModelArgs",
        "ModelOutputArgs",
        "auto_class_docstring",
        "get_args_doc_from_source",
        "parse_docstring",
        "set_min_indent",
    ),
}
# Packages whose own code is an index of what lies inside: that can be imported past it.
INDEXES = (
    "diffusers.models.autoencoders",
    "diffusers.models.transformers",
    "diffusers.models.unets",
    "transformers",
    "transformers.models",
)
