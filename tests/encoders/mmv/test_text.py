import pytest
import torch
from tests.encoders.mmv.golden import load

from quiver.encoders.mmv.text import TextTower


@pytest.fixture
def tower() -> TextTower:
    torch.manual_seed(0)
    table = torch.randn(9, 5)
    table[0] = 0
    return TextTower(table, 7)


def test_tower_is_the_official_one_and_its_table_gets_no_gradient() -> None:
    golden = {name: torch.from_numpy(array) for name, array in load("mmv_heads").items() if "meta" not in name}
    weight = golden["text_module/w/text_module/~/text_conv1/w"][0].T
    tower = TextTower(golden["text_module/w/text_module/~/embed/embeddings"], 12)
    tower.load_state_dict(
        {"table": tower.table, "word.weight": weight, "word.bias": golden["text_module/w/text_module/~/text_conv1/b"]}
    )
    out = tower(golden["in/word_ids"].long())
    torch.testing.assert_close(out, golden["text_module/out/eval"], rtol=1e-5, atol=1e-6)
    out.sum().backward()
    assert tower.word.weight.grad is not None and tower.table.grad is None
    wanted = golden["text_module/grad_of_sum/text_module/~/text_conv1/w"][0].T
    torch.testing.assert_close(tower.word.weight.grad, wanted, rtol=1e-5, atol=1e-5)
    assert [name for name, _ in tower.named_parameters()] == ["word.weight", "word.bias"]


def test_word_layer_has_the_published_number_of_parameters() -> None:
    assert sum(parameter.numel() for parameter in TextTower(torch.zeros(1, 300), 2048).parameters()) == 616_448


def test_order_of_words_and_more_padding_change_nothing(tower: TextTower) -> None:
    with torch.no_grad():
        out = tower(torch.tensor([[3, 5, 8, 0]]))
        for same in ([8, 3, 0, 5], [3, 5, 8, 0, 0, 0]):  # a product may round a row by where it stands
            torch.testing.assert_close(tower(torch.tensor([same])), out, rtol=1e-6, atol=1e-6)


def test_padding_takes_part_in_the_maximum(tower: TextTower) -> None:
    with torch.no_grad():
        bias = tower.word.bias.relu()
        torch.testing.assert_close(tower(torch.zeros(1, 4, dtype=torch.long))[0], bias)
        full = tower(torch.tensor([[3, 5]]))[0]
        torch.testing.assert_close(tower(torch.tensor([[3, 5, 0]]))[0], torch.maximum(full, bias))
