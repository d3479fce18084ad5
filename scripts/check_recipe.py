"""Render the recipe for conda-forge as rattler-build does; ``nox -s recipe`` runs this."""

from __future__ import annotations

from pathlib import Path

from rattler_build import Stage0Recipe

RECIPE = Path(__file__).parents[1] / "recipe" / "recipe.yaml"


def main() -> None:
    """Raise an error if the recipe cannot be parsed or rendered."""
    for variant in Stage0Recipe.from_file(RECIPE).render():
        print(variant.recipe.package.name, variant.recipe.package.version, "renders")


if __name__ == "__main__":
    main()
