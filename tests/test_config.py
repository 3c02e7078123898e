import json
from dataclasses import FrozenInstanceError

import numpy as np
import pytest

import msm3d
from msm3d import BackboneConfig
from msm3d.errors import InputError


def test_the_defaults_are_the_published_network():
    config = BackboneConfig()
    assert config.levels == 5
    assert config.descriptor_channels == 928


def test_it_survives_json():
    config = BackboneConfig(
        channels=(8, 16), decoder_channels=(8, 16), conv_blocks=(1, 0), attention_blocks=(0, 1), heads=(0, 2)
    )
    assert BackboneConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_it_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        BackboneConfig().window = 3  # pyright: ignore


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"channels": ()}, "channels is empty; give one width per level, fine to coarse."),
        ({"heads": (1,)}, "channels has 5 levels but heads has 1; give one entry per level."),
        ({"channels": (32, 64, 128, 256, 0)}, "channels is (32, 64, 128, 256, 0); it must be positive integers."),
        ({"window": 0}, "window is 0; it must be a positive integer."),
        ({"window": True}, "window is True; it must be a positive integer."),
        ({"voxel_size": -0.02}, "voxel_size is -0.02; it must be a positive number."),
        ({"voxel_size": float("nan")}, "voxel_size is nan; it must be a positive number."),
        ({"drop_path": 1}, "drop_path is 1; it must be a number in [0, 1)."),
        ({"layer_scale": 10**400}, "layer_scale is inf; it must be a positive number."),
        ({"layer_scale": True}, "layer_scale is True; it must be a positive number."),
        ({"window": 8.0}, "window is 8.0; it must be a positive integer."),
        ({"channels": 16}, "channels is 16; it must be a list."),
        ({"heads": float("nan")}, "heads is nan; it must be a list."),
        ({"curves": "xyz-z"}, "curves is 'xyz-z'; it must be a list."),
        ({"curves": [["z"]]}, "curves is (['z'],); it must be some of xyz-z, yxz-z, xyz-hilbert, yxz-hilbert."),
        ({"bias": "no"}, "bias is 'no'; it must be true or false."),
        ({"norm": "batchnorm"}, "norm is 'batchnorm'; it must be one of rmsnorm, layernorm."),
        ({"sampling": "nearest"}, "sampling is 'nearest'; it must be one of centered, published, parent."),
        ({"curves": ("spiral",)}, "curves is ('spiral',); it must be some of xyz-z, yxz-z, xyz-hilbert, yxz-hilbert."),
        (
            {"decoder_channels": (64, 96, 128, 256, 256)},
            "the coarsest width is 384 in channels and 256 in decoder_channels; the decoder starts where the encoder "
            "ends, so give the same.",
        ),
        (
            {"heads": (0, 0, 0, 32, 50)},
            "channels[4] is 384 and heads[4] is 50; a level with attention needs a number of heads that divides its "
            "width.",
        ),
    ],
)
def test_a_wrong_value_is_named_with_what_it_must_be(values, message):
    with pytest.raises(InputError) as caught:
        BackboneConfig(**values)
    assert str(caught.value) == message


def test_numbers_are_of_the_kind_that_is_meant():
    config = BackboneConfig(
        layer_scale=1, drop_path=0, voxel_size=np.float64(0.5), window=np.int64(8), conv_blocks=[1] * 5
    )
    assert [type(v) for v in (config.layer_scale, config.drop_path, config.voxel_size)] == [float] * 3
    assert type(config.window) is int
    assert config.conv_blocks == (1, 1, 1, 1, 1)


def test_a_network_is_built_of_whole_numbers():
    widths = {"channels": (8,), "decoder_channels": (8,), "conv_blocks": (1,), "attention_blocks": (0,), "heads": (0,)}
    assert msm3d.Model(BackboneConfig(**widths, layer_scale=1, voxel_size=1)).backbone.encoder[0].convs[0].gamma[0] == 1


def test_an_unknown_field_is_an_error_with_the_nearest_name():
    with pytest.raises(InputError, match=r"^unknown configuration field 'widow'; did you mean 'window'\?$"):
        BackboneConfig.from_dict({"widow": 3})
