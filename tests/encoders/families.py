"""Tiny models of today's families, of the classes that their checkpoints name; the same seed gives the same weights.

Each function writes a folder as the family publishes it and returns it. ``docs/models.md`` lists the families.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.encoders.conftest import SEEN, SMALL, TEXT, write_model, write_tokenizer

HEAD = {**SMALL, "head_dim": 8}
#: A decoder of language, as Qwen and Gemma.
DECODER = {
    **HEAD,
    "vocab_size": 99,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
#: ModernBERT, the text tower of PE-AV and of gte-modernbert.
MODERN = {
    **SMALL,
    "vocab_size": 99,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "cls_token_id": 1,
    "sep_token_id": 2,
    "max_position_embeddings": 77,
}
CHAT = """\
{% for message in messages %}{{ message['role'] }}: {% if message['content'] is string %}{{ message['content'] }}
{%- else %}{% for part in message['content'] -%}
{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>
{%- elif part['type'] == 'video' %}<|vision_start|><|video_pad|><|vision_end|>
{%- else %}{{ part['text'] }}{% endif -%}
{% endfor %}{% endif %}
{% endfor %}"""


def metaclip2(folder: Path) -> Path:
    """MetaCLIP 2, a worldwide CLIP, in transformers."""
    import transformers

    write_tokenizer(folder)
    size = {"size": {"shortest_edge": 31}, "crop_size": {"height": 24, "width": 24}}
    transformers.CLIPImageProcessor(**size).save_pretrained(folder)
    config = transformers.MetaClip2Config(text_config=TEXT, vision_config=SEEN, projection_dim=16)
    return write_model(folder, transformers.MetaClip2Model, config)


def videomae(folder: Path) -> Path:
    import transformers

    size = {"size": {"shortest_edge": 24}, "crop_size": {"height": 24, "width": 24}}
    transformers.VideoMAEImageProcessor(**size).save_pretrained(folder)
    config = transformers.VideoMAEConfig(**SEEN, num_frames=4, tubelet_size=2)
    return write_model(folder, transformers.VideoMAEModel, config)


def vjepa2(folder: Path, *, seed: int = 0) -> Path:
    import transformers

    transformers.VJEPA2VideoProcessor(crop_size=28).save_pretrained(folder)  # resizes the shorter side to 32
    predictor = {"pred_hidden_size": 24, "pred_num_attention_heads": 2, "pred_num_hidden_layers": 1}
    config = transformers.VJEPA2Config(
        patch_size=14, crop_size=28, frames_per_clip=4, tubelet_size=2, hidden_size=24, num_attention_heads=2,
        num_hidden_layers=2, mlp_ratio=2.0, pred_num_mask_tokens=2, **predictor,
    )  # fmt: skip
    return write_model(folder, transformers.VJEPA2Model, config, seed=seed)


def _pe_parts(folder: Path) -> dict[str, Any]:
    """Write the processors of PE-AV, and return the settings of its parts."""
    import transformers

    write_tokenizer(folder)
    transformers.PeAudioFeatureExtractor(sampling_rate=1600, hop_length=8).save_pretrained(folder)
    transformers.PeVideoVideoProcessor(
        size={"height": 32, "width": 32}, num_frames=4, do_rescale=True, do_normalize=True,
        image_mean=[0.5] * 3, image_std=[0.5] * 3,
    ).save_pretrained(folder)  # fmt: skip
    dac = {"encoder_hidden_size": 4, "downsampling_ratios": [2, 4], "codebook_dim": 8, "codebook_size": 16}
    dac |= {"decoder_hidden_size": 16, "n_codebooks": 2}
    trunk = {"img_size": (32, 32), "embed_dim": 24, "depth": 1, "num_heads": 2, "ref_feat_shape": (2, 2)}
    vision = {"architecture": "vit_pe_core_tiny_patch16_384", "do_pooling": True, "num_classes": 16}
    return {
        "text_config": MODERN,
        "audio_config": {**HEAD, "dac_config": dac, "max_position_embeddings": 200},
        "video_config": {**HEAD, "vision_config": {**vision, "global_pool": "map", "model_args": trunk}},
    }


def _loud(network: Any) -> Any:
    """Return a network that hears: by their own initial weights the codes of tiny sounds are all alike."""
    import torch

    with torch.no_grad():
        for name, weights in network.named_parameters():
            if weights.ndim > 1 and ("dac_encoder" in name or "bottleneck" in name or "data_proj" in name):
                weights.normal_(0, 2 / (weights[0].numel() ** 0.5))
    return network


def pe_av(folder: Path, *, seed: int = 0) -> Path:
    """PE-AV: text, sounds and videos."""
    import transformers

    parts = _pe_parts(folder)
    text = parts.pop("text_config")
    config = transformers.PeAudioVideoConfig(text_config=text, audio_video_config={**HEAD, **parts})
    return write_model(folder, lambda given: _loud(transformers.PeAudioVideoModel(given)), config, seed=seed)


def pe_audio(folder: Path) -> Path:
    import transformers

    parts = _pe_parts(folder)
    config = transformers.PeAudioConfig(text_config=parts["text_config"], audio_config=parts["audio_config"])
    return write_model(folder, lambda given: _loud(transformers.PeAudioModel(given)), config)


def pe_video(folder: Path) -> Path:
    import transformers

    parts = _pe_parts(folder)
    config = transformers.PeVideoConfig(text_config=parts["text_config"], video_config=parts["video_config"])
    return write_model(folder, transformers.PeVideoModel, config)


def open_clip_config(name: str) -> dict[str, Any]:
    """Return the settings of an architecture of OpenCLIP, with everything small."""
    import open_clip

    config = dict(open_clip.get_model_config(name))
    seen, text = dict(config["vision_cfg"]), dict(config["text_cfg"])
    seen["image_size"] = 64 if "MobileCLIP" in name else 32
    config["embed_dim"] = 64  # the width of the trunk, where nothing projects it
    if "timm_model_name" not in seen:
        seen |= {"layers": 1, "width": 32, "head_width": 8, "patch_size": 16}
    elif seen["timm_model_name"].startswith("fastvit"):
        seen["timm_model_name"] = "fastvit_t8"
    else:
        seen["timm_model_name"] = "test_vit"
    text |= {"width": 32, "heads": 4, "layers": 1}
    return config | {"vision_cfg": seen, "text_cfg": text}


def sentence(
    folder: Path,
    plain: Callable[[Path], Path],
    *,
    pooling: str,
    prompts: dict[str, str] | None = None,
    head: Sequence[int] = (),
    unit: bool = True,
) -> Path:
    """Write a text encoder as Sentence Transformers keeps it.

    Args:
        folder: where to write.
        plain: writes the network and its tokenizer.
        pooling: ``cls``, ``mean`` or ``lasttoken``.
        prompts: of queries and documents.
        head: widths of linear layers after pooling, as EmbeddingGemma has.
        unit: whether the model ends with a normalisation.
    """
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Dense, Normalize, Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    modules: list[Any] = [Transformer(str(plain(folder / "plain"))), Pooling(32, pooling_mode=pooling)]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for width, after in zip((32, *head), head, strict=False):
            modules.append(Dense(width, after, bias=False, activation_function=torch.nn.Identity()))
    modules += [Normalize()] * unit
    SentenceTransformer(modules=modules, device="cpu", prompts=prompts or {}).save_pretrained(str(folder / "model"))
    return folder / "model"


def bert(folder: Path, *, seed: int = 0) -> Path:
    import transformers

    folder.mkdir(parents=True, exist_ok=True)
    write_tokenizer(folder)
    return write_model(folder, transformers.BertModel, transformers.BertConfig(**TEXT), seed=seed)


def modernbert(folder: Path) -> Path:
    import transformers

    folder.mkdir(parents=True, exist_ok=True)
    write_tokenizer(folder)
    return write_model(folder, transformers.ModernBertModel, transformers.ModernBertConfig(**MODERN))


def qwen3(folder: Path) -> Path:
    import transformers

    folder.mkdir(parents=True, exist_ok=True)
    write_tokenizer(folder)
    return write_model(folder, transformers.Qwen3Model, transformers.Qwen3Config(**DECODER))


def gemma3(folder: Path) -> Path:
    """Gemma 3 whose tokens see each other both ways: the network of EmbeddingGemma."""
    import transformers

    folder.mkdir(parents=True, exist_ok=True)
    write_tokenizer(folder)
    config = transformers.Gemma3TextConfig(**DECODER, use_bidirectional_attention=True, sliding_window=16)
    return write_model(folder, transformers.Gemma3TextModel, config)


def _see_and_say(folder: Path) -> Any:
    """Write the processor of a tiny Qwen3-VL, and return the settings of its network."""
    import transformers
    from transformers import AddedToken, AutoTokenizer

    folder.mkdir(parents=True, exist_ok=True)
    write_tokenizer(folder, length=4096)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    marks = ["<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|vision_end|>"]
    tokenizer.add_special_tokens({"additional_special_tokens": [AddedToken(mark, normalized=False) for mark in marks]})
    picture, film, start, end = tokenizer.convert_tokens_to_ids(marks)
    size = {"shortest_edge": 16 * 16, "longest_edge": 64 * 64}
    look = {"patch_size": 4, "merge_size": 2, "temporal_patch_size": 2}
    processor = transformers.Qwen3VLProcessor(
        transformers.Qwen2VLImageProcessor(**look, size=size),
        tokenizer,
        transformers.Qwen3VLVideoProcessor(**look, size=size),
        chat_template=CHAT,
    )
    processor.save_pretrained(folder)
    seen = {"depth": 2, "hidden_size": 32, "intermediate_size": 48, "num_heads": 4, "out_hidden_size": 32}
    seen |= {"patch_size": 4, "spatial_merge_size": 2, "temporal_patch_size": 2, "deepstack_visual_indexes": [0]}
    decoder = {**DECODER, "vocab_size": 110, "max_position_embeddings": 4096}
    decoder["rope_parameters"] = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 1, 1]}
    return transformers.Qwen3VLConfig(
        text_config=decoder, vision_config={**seen, "num_position_embeddings": 64},
        image_token_id=picture, video_token_id=film, vision_start_token_id=start, vision_end_token_id=end,
    )  # fmt: skip


def qwen3_vl(folder: Path) -> Path:
    import transformers

    config = _see_and_say(folder)
    return write_model(folder, transformers.Qwen3VLModel, config)


def qwen3_vl_reranker(folder: Path) -> Path:
    """Qwen3-VL-Reranker: the logit of "y" less that of "n" at the last token."""
    import transformers
    from sentence_transformers import CrossEncoder
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.cross_encoder.modules import LogitScore

    config = _see_and_say(folder / "plain")
    write_model(folder / "plain", transformers.Qwen3VLForConditionalGeneration, config)
    network = Transformer(str(folder / "plain"), transformer_task="any-to-any")
    yes, no = network.tokenizer.convert_tokens_to_ids(["y", "n"])
    modules = [network, LogitScore(true_token_id=yes, false_token_id=no)]
    CrossEncoder(modules=modules, device="cpu").save_pretrained(str(folder / "model"))
    return folder / "model"


def blip2_itm(folder: Path) -> Path:
    import transformers

    folder.mkdir(parents=True, exist_ok=True)
    write_tokenizer(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    images = transformers.BlipImageProcessor(size={"height": 24, "width": 24})
    transformers.Blip2Processor(images, tokenizer, num_query_tokens=None).save_pretrained(folder)
    former = {**SMALL, "vocab_size": 120, "max_position_embeddings": 77, "pad_token_id": 0, "encoder_hidden_size": 32}
    config = transformers.Blip2Config(
        vision_config=SEEN,
        qformer_config={**former, "use_qformer_text_input": True, "cross_attention_frequency": 1},
        text_config={"model_type": "opt", "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
                     "ffn_dim": 32, "vocab_size": 99, "word_embed_proj_dim": 32},
        num_query_tokens=3, image_text_hidden_size=16,
    )  # fmt: skip
    config.image_token_index = None
    return write_model(folder, transformers.Blip2ForImageTextRetrieval, config)


def blip_itm(folder: Path) -> Path:
    import transformers

    folder.mkdir(parents=True, exist_ok=True)
    write_tokenizer(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    images = transformers.BlipImageProcessor(size={"height": 24, "width": 24})
    transformers.BlipProcessor(images, tokenizer).save_pretrained(folder)
    text = {**SMALL, "vocab_size": 99, "max_position_embeddings": 77, "encoder_hidden_size": 32, "is_decoder": True}
    config = transformers.BlipConfig(
        text_config={**text, "pad_token_id": 0, "bos_token_id": 1, "sep_token_id": 2}, vision_config=SEEN,
        image_text_hidden_size=16,
    )  # fmt: skip
    return write_model(folder, transformers.BlipForImageTextRetrieval, config)


def colbert(folder: Path, *, seed: int = 0) -> Path:
    """ColBERT: a BERT, a projection, and a mask of punctuation."""
    import torch
    from sentence_transformers import MultiVectorEncoder
    from sentence_transformers.base.modules import Dense, Normalize, Transformer
    from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        modules = [
            Transformer(str(bert(folder / "plain", seed=seed)), document_length=40, query_length=24),
            Dense(32, 8, bias=False, activation_function=torch.nn.Identity(), module_input_name="token_embeddings"),
            MultiVectorMask(skiplist_words=[".", ","]),
            Normalize(module_input_name="token_embeddings"),
        ]
    prompts = {"query": "q ", "document": "d "}
    network = MultiVectorEncoder(modules=modules, device="cpu", prompts=prompts)
    network.save_pretrained(str(folder / "model"))
    return folder / "model"


def colqwen2(folder: Path) -> Path:
    import transformers
    from transformers import AddedToken, AutoTokenizer

    folder.mkdir(parents=True, exist_ok=True)
    write_tokenizer(folder, length=4096)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    marks = ["<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|vision_end|>", "<|endoftext|>"]
    tokenizer.add_special_tokens({"additional_special_tokens": [AddedToken(mark, normalized=False) for mark in marks]})
    picture, film, start, end = tokenizer.convert_tokens_to_ids(marks[:4])
    size = {"shortest_edge": 16 * 16, "longest_edge": 64 * 64}
    images = transformers.Qwen2VLImageProcessor(patch_size=4, merge_size=2, temporal_patch_size=2, size=size)
    transformers.ColQwen2Processor(images, tokenizer, chat_template=CHAT).save_pretrained(folder)
    decoder = {**DECODER, "vocab_size": 110, "max_position_embeddings": 4096}
    decoder["rope_parameters"] = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 1, 1]}
    seen = {"depth": 1, "embed_dim": 32, "num_heads": 4, "hidden_size": 32, "mlp_ratio": 2, "patch_size": 4}
    within = transformers.Qwen2VLConfig(
        text_config=decoder, vision_config={**seen, "spatial_merge_size": 2, "temporal_patch_size": 2},
        image_token_id=picture, video_token_id=film, vision_start_token_id=start, vision_end_token_id=end,
    )  # fmt: skip
    config = transformers.ColQwen2Config(vlm_config=within, embedding_dim=8)
    return write_model(folder, transformers.ColQwen2ForRetrieval, config)


def colpali(folder: Path) -> Path:
    import transformers
    from transformers import AddedToken, AutoTokenizer

    folder.mkdir(parents=True, exist_ok=True)
    write_tokenizer(folder, length=4096)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"additional_special_tokens": [AddedToken("<image>", normalized=False)]})
    images = transformers.SiglipImageProcessor(size={"height": 24, "width": 24})
    images.image_seq_length = 9
    transformers.ColPaliProcessor(images, tokenizer).save_pretrained(folder)
    decoder = {**DECODER, "model_type": "gemma", "vocab_size": 1200, "max_position_embeddings": 4096}
    within = transformers.PaliGemmaConfig(
        text_config=decoder, vision_config={**SEEN, "model_type": "siglip_vision_model", "projection_dim": 32},
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"), projection_dim=32, hidden_size=32,
    )  # fmt: skip
    config = transformers.ColPaliConfig(vlm_config=within, embedding_dim=8)
    return write_model(folder, transformers.ColPaliForRetrieval, config)


def describe(folder: Path) -> dict[str, Any]:
    """Return the ``config.json`` of a folder."""
    found: dict[str, Any] = json.loads((folder / "config.json").read_text())
    return found
