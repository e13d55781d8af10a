"""Tiny captioners with random weights, as their publishers keep them: settings, weights, tokenizer and processor."""

from tests.encoders.conftest import SMALL, TEXT, write_model, write_tokenizer

TEMPLATE = (
    "{% for message in messages %}<bos>{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endfor %}{% if add_generation_prompt %}: {% endif %}"
)
#: Tokens of the tests' tokenizer: 4 marks and 95 characters.
CHARACTERS = 99
MARKS = ["<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|vision_end|>", "<image>"]
SEEN = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
SEEN |= {"image_size": 24, "patch_size": 8, "initializer_range": 0.5}
SQUARE = {"height": 24, "width": 24}


def tokenizer(folder, image="<image>"):
    """The tests' tokenizer of characters, with marks for pictures."""
    from transformers import AutoTokenizer

    write_tokenizer(folder, length=4096)
    found = AutoTokenizer.from_pretrained(folder, extra_special_tokens={"image_token": image})
    found.add_tokens(MARKS, special_tokens=True)
    return found


def blip(folder):
    import transformers

    held = tokenizer(folder)
    pictures = transformers.BlipImageProcessor(size=SQUARE)
    transformers.BlipProcessor(pictures, held).save_pretrained(folder)
    text = SMALL | {"vocab_size": len(held), "bos_token_id": 1, "sep_token_id": 2, "pad_token_id": 0}
    text |= {"encoder_hidden_size": 32, "initializer_range": 1.0}
    config = transformers.BlipConfig(text_config=text, vision_config=SEEN)
    return transformers.BlipForConditionalGeneration, config


def blip2(folder):
    import transformers

    held = tokenizer(folder)
    pictures = transformers.BlipImageProcessor(size=SQUARE)
    transformers.Blip2Processor(pictures, held, num_query_tokens=4).save_pretrained(folder)
    queries = SMALL | {"vocab_size": len(held), "encoder_hidden_size": 32, "initializer_range": 1.0}
    text = {"model_type": "opt", "hidden_size": 32, "ffn_dim": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    text |= {"vocab_size": len(held), "word_embed_proj_dim": 32, "bos_token_id": 1, "eos_token_id": 2}
    text |= {"pad_token_id": 0, "init_std": 1.0, "max_position_embeddings": 256}
    config = transformers.Blip2Config(
        vision_config=SEEN,
        qformer_config=queries,
        text_config=text,
        num_query_tokens=4,
        image_token_index=held.convert_tokens_to_ids("<image>"),
    )
    return transformers.Blip2ForConditionalGeneration, config


def florence2(folder):
    import transformers

    held = tokenizer(folder)
    pictures = transformers.CLIPImageProcessor(size=SQUARE, crop_size=SQUARE, do_center_crop=False)
    pictures.image_seq_length = 10
    transformers.Florence2Processor(pictures, held).save_pretrained(folder)
    seen = {"depths": [1, 1], "patch_size": [7, 3], "patch_stride": [4, 2], "patch_padding": [3, 1]}
    seen |= {"patch_prenorm": [False, True], "embed_dim": [16, 32], "num_heads": [2, 4], "num_groups": [2, 4]}
    seen |= {"window_size": 3, "projection_dim": 32, "initializer_range": 0.5}
    text = {"model_type": "bart", "d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "vocab_size": len(held)}
    text |= {"encoder_attention_heads": 4, "decoder_attention_heads": 4, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48}
    text |= {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, "decoder_start_token_id": 2, "init_std": 1.0}
    text |= {"forced_eos_token_id": None, "max_position_embeddings": 256}
    config = transformers.Florence2Config(
        vision_config=seen, text_config=text, image_token_id=held.convert_tokens_to_ids("<image>")
    )
    return transformers.Florence2ForConditionalGeneration, config


def qwen3_vl(folder):
    import transformers

    held = tokenizer(folder, "<|image_pad|>")
    numbers = {mark: held.convert_tokens_to_ids(mark) for mark in MARKS}
    limits = {"shortest_edge": 32 * 32, "longest_edge": 64 * 64}
    shape = {"patch_size": 8, "temporal_patch_size": 2, "merge_size": 2, "size": limits}
    pictures = transformers.Qwen2VLImageProcessor(**shape)
    videos = transformers.Qwen3VLVideoProcessor(**shape)
    transformers.Qwen3VLProcessor(pictures, held, videos, chat_template=TEMPLATE).save_pretrained(folder)
    seen = {"depth": 2, "hidden_size": 32, "intermediate_size": 48, "num_heads": 4, "patch_size": 8}
    seen |= {"out_hidden_size": 32, "num_position_embeddings": 64, "deepstack_visual_indexes": [0]}
    seen |= {"initializer_range": 0.5}
    text = SMALL | {"vocab_size": len(held), "num_key_value_heads": 2, "head_dim": 8, "initializer_range": 1.0}
    text |= {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 1, 1]}}
    text |= {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    config = transformers.Qwen3VLConfig(
        vision_config=seen,
        text_config=text,
        image_token_id=numbers["<|image_pad|>"],
        video_token_id=numbers["<|video_pad|>"],
        vision_start_token_id=numbers["<|vision_start|>"],
        vision_end_token_id=numbers["<|vision_end|>"],
        eos_token_id=2,
        pad_token_id=0,
    )
    return transformers.Qwen3VLForConditionalGeneration, config


def git(folder):
    import transformers

    held = tokenizer(folder)
    pictures = transformers.CLIPImageProcessor(size=SQUARE, crop_size=SQUARE)
    transformers.GitProcessor(pictures, held).save_pretrained(folder)
    text = TEXT | {"vocab_size": len(held), "initializer_range": 1.0, "max_position_embeddings": 256}
    return transformers.GitForCausalLM, transformers.GitConfig(vision_config=SEEN, **text)


def llava(folder):
    import transformers

    held = tokenizer(folder)
    pictures = transformers.CLIPImageProcessor(size=SQUARE, crop_size=SQUARE)
    template = TEMPLATE.replace("<|vision_start|><|image_pad|><|vision_end|>", "<image>")
    transformers.LlavaProcessor(
        pictures,
        held,
        patch_size=8,
        vision_feature_select_strategy="full",
        num_additional_image_tokens=1,
        chat_template=template,
    ).save_pretrained(folder)
    text = SMALL | {"model_type": "llama", "vocab_size": len(held), "initializer_range": 1.0}
    text |= {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, "max_position_embeddings": 512}
    config = transformers.LlavaConfig(
        vision_config=SEEN | {"model_type": "clip_vision_model"},
        text_config=text,
        image_token_index=held.convert_tokens_to_ids("<image>"),
        vision_feature_select_strategy="full",
        vision_feature_layer=-1,
    )
    return transformers.LlavaForConditionalGeneration, config


KINDS = {"blip": blip, "blip-2": blip2, "git": git, "florence2": florence2, "llava": llava, "qwen3_vl": qwen3_vl}


def write(kind, folder, *, seed=0):
    """Write a captioner of a kind of KINDS, and return its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    return write_model(folder, *KINDS[kind](folder), seed=seed)
