"""Decoding of every mode, resizing, and normalisation."""

import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from lst.data import decode, normalise, resize

RED = np.array([[[200, 10, 60]] * 3] * 2, np.uint8)


def encoded(image, form='PNG', **options):
  file = io.BytesIO()
  image.save(file, form, **options)
  return file.getvalue()


def test_grey_is_repeated():
  grey = np.array([[0, 100, 255]], np.uint8)
  want = np.repeat(grey[..., None], 3, 2)
  assert np.array_equal(decode(encoded(Image.fromarray(grey))), want)
  assert np.array_equal(decode(grey), want)


@pytest.mark.parametrize('mode', ['RGB', 'RGBA', 'P'])
def test_colours_survive(mode):
  image = Image.fromarray(RED).convert(mode, palette=Image.Palette.ADAPTIVE)
  pixels = decode(encoded(image))
  assert pixels.dtype == np.uint8 and np.array_equal(pixels, RED)


def test_transparency_is_dropped_without_blending():
  rgba = np.concatenate([RED, np.zeros((2, 3, 1), np.uint8)], 2)
  assert np.array_equal(decode(encoded(Image.fromarray(rgba))), RED)
  la = Image.merge('LA', [Image.new('L', (2, 2), 70), Image.new('L', (2, 2))])
  assert (decode(encoded(la)) == 70).all()
  palette = Image.fromarray(RED).quantize(8)
  with_entries = encoded(palette, transparency=bytes([0] * 256))
  assert np.array_equal(decode(with_entries), RED)


@pytest.mark.parametrize('form', ['PNG', 'PPM', 'TIFF'])
def test_sixteen_bits_keep_the_upper_eight(form):
  deep = np.array([[0, 255, 256, 40000, 65535]], np.uint16)
  pixels = decode(encoded(Image.fromarray(deep), form))
  assert pixels[0, :, 1].tolist() == [0, 0, 1, 156, 255]


def test_thirty_two_bits_are_taken_as_they_are():
  deep = np.array([[0, 1, 100, 255]], np.int32)
  pixels = decode(encoded(Image.fromarray(deep), 'TIFF'))
  assert pixels[0, :, 1].tolist() == [0, 1, 100, 255]


@pytest.mark.parametrize('deep', [
    np.float32([[0.5]]), np.int32([[0, 256]]), np.int32([[-1, 255]]),
    np.int32([[70000]])])
def test_what_has_no_8_bit_reading_is_refused(deep):
  with pytest.raises(ValueError, match='no 8-bit reading'):
    decode(encoded(Image.fromarray(deep), 'TIFF'))


def test_one_bit_and_cmyk():
  assert set(decode(encoded(Image.new('1', (2, 2), 1))).ravel()) == {255}
  cmyk = encoded(Image.fromarray(RED).convert('CMYK'), 'JPEG', quality=100)
  assert np.abs(decode(cmyk).astype(int) - RED).max() <= 6


def test_orientation_is_left_alone():
  exif = Image.Exif()
  exif[0x0112] = 6
  pixels = decode(encoded(Image.fromarray(RED), 'JPEG', exif=exif))
  assert pixels.shape == RED.shape


def test_bytes_and_paths_agree(tmp_path):
  path = tmp_path / 'x.png'
  path.write_bytes(encoded(Image.fromarray(RED)))
  assert np.array_equal(decode(str(path)), decode(path.read_bytes()))


@pytest.mark.parametrize(
  'image', [np.zeros((2, 2, 4), np.uint8), np.zeros((2, 2, 3), np.float32)]
)
def test_arrays_of_another_kind_are_refused(image):
  with pytest.raises(ValueError, match='is no image'):
    decode(image)


def test_resize_keeps_what_fits_and_goes_straight_to_the_size():
  assert resize(RED, (2, 3), 'bicubic') is RED
  for method in ('bilinear', 'bicubic', 'bilinear_tf'):
    assert np.array_equal(resize(RED, (7, 2), method), [[RED[0, 0]] * 2] * 7)


@pytest.mark.parametrize(
  'method, jax_method, antialias',
  [
    ('bilinear', 'bilinear', True),
    ('bilinear_tf', 'bilinear', False),
  ],
)
@pytest.mark.parametrize('size', [(5, 31), (32, 12), (3, 3)])
def test_resize_agrees_with_jax(method, jax_method, antialias, size):
  image = np.random.RandomState(0).randint(0, 256, (16, 20, 3), np.uint8)
  want = jax.image.resize(
    image.astype(np.float32), (*size, 3), jax_method, antialias=antialias
  )
  assert np.abs(resize(image, size, method) - want).max() <= 1.01


def test_normalise_on_both_kinds_of_array():
  image = np.array([[[0, 128, 255]]], np.uint8)
  mean, std = (0.5, 0.4, 0.3), (0.1, 0.2, 0.3)
  want = (np.array([0, 128 / 255, 1]) - mean) / std
  host = normalise(image, mean, std)
  device = jax.jit(normalise, static_argnums=(1, 2))(image, mean, std)
  assert host.dtype == device.dtype == jnp.float32
  assert isinstance(device, jax.Array)
  np.testing.assert_allclose(host[0, 0], want, rtol=1e-5)
  np.testing.assert_allclose(device[0, 0], want, rtol=1e-5)
