"""Tests mirror job/; tests/pipeline runs the real `dvc repro`."""

from pathlib import Path

ROOT = Path(__file__).parent.parent
