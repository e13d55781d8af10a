"""A start from checkpoints of transformers."""

import pytest
import torch
import transformers

from quiver.encoders.fashionbert.bert import settings, start
from quiver.encoders.fashionbert.config import Config
from quiver.encoders.fashionbert.model import FashionBert
from quiver.errors import BadSpec, MissingWeights


@pytest.fixture(scope="module", params=["gelu", "gelu_new"])
def theirs(request, tmp_path_factory):
    config = transformers.BertConfig(
        vocab_size=60,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=24,
        hidden_act=request.param,
        initializer_range=0.3,
    )
    torch.manual_seed(0)
    made = transformers.BertForPreTraining(config).eval()
    folder = tmp_path_factory.mktemp("bert")
    made.save_pretrained(folder)
    return made, folder


def test_text_alone_is_read_as_transformers_reads_it(theirs):
    bert, folder = theirs
    own = FashionBert(Config(**settings(folder), max_text=12)).eval()
    lacking = start(own, folder)
    text = torch.tensor([[2, 7, 9, 59, 3, 0, 0], [2, 8, 11, 30, 31, 40, 3]])
    with torch.no_grad():
        expected = bert(text, attention_mask=text != 0, output_hidden_states=True)
        tokens = own.encoder(own.words(text), text != 0)
        guessed = own.guess_word(tokens, own.words.word.weight)
    kept = text != 0
    torch.testing.assert_close(tokens[kept], expected.hidden_states[-1][kept], atol=2e-5, rtol=2e-5)
    torch.testing.assert_close(guessed[kept], expected.prediction_logits[kept], atol=1e-4, rtol=2e-5)
    assert torch.equal(own.pooler.weight, bert.bert.pooler.dense.weight)
    assert {name.split(".")[0] for name in lacking} == {"patches", "match", "guess_patch"}


def test_a_checkpoint_that_does_not_fit_is_refused(theirs, tmp_path):
    _, folder = theirs
    given = settings(folder)
    for change, words in (
        ({"layers": 3}, r"lacks encoder\.blocks\.2"),
        ({"layers": 1}, r"has encoder\.blocks\.1"),
        ({"vocabulary": 61}, r"words\.word\.weight is \(60, 32\) where the model has \(61, 32\)"),
    ):
        with pytest.raises(MissingWeights, match=words):
            start(FashionBert(Config(**{**given, **change}, max_text=12)), folder)
    with pytest.raises(MissingWeights, match=r"has no config\.json"):
        settings(tmp_path)
    (tmp_path / "config.json").write_text('{"hidden_act": "relu"}')
    with pytest.raises(BadSpec, match="hidden_act 'relu'"):
        settings(tmp_path)
    with pytest.raises(MissingWeights, match=r"neither model\.safetensors nor pytorch_model\.bin"):
        start(FashionBert(Config.tiny()), tmp_path)
