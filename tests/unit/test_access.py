"""What grants cover, and where names become layers."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from service.access import ACCESS, Access, Grants, Scope
from service.catalog import Catalog, shipped_layers
from service.errors import InternalError, NotFound, PermissionDenied, Reason

READ, WRITE, ADMIN = Scope


@pytest.mark.parametrize(
    ("words", "scope", "layer", "covered"),
    [
        ("spatial.read", READ, "zones", True),
        ("spatial.read", WRITE, "zones", False),
        ("spatial.write", READ, "zones", False),
        ("spatial.read spatial.write", WRITE, "zones", True),
        ("spatial.admin", READ, "zones", True),
        ("spatial.admin", WRITE, "zones", True),
        ("spatial.write", ADMIN, "zones", False),
        ("spatial.read:zones", READ, "zones", True),
        ("spatial.read:zones", READ, "zones2", False),
        ("spatial.read:zones", READ, "azones", False),
        ("spatial.read:zones", READ, "Zones", False),
        ("spatial.read:public.*", READ, "public.roads", True),
        ("spatial.read:public.*", READ, "publicXroads", False),
        ("spatial.read:public.*", READ, "gis.public.roads", False),
        ("spatial.read:public.*", READ, "public.a\nb", True),
        ("spatial.read:a spatial.read:b", READ, "b", True),
        ("spatial.read:a? spatial.write:*", READ, "bc", False),
        ("spatial.read:[ab]*", READ, "beta", True),
        ("spatial.admin:a spatial.read:b", ADMIN, "b", False),
        ("spatial.admin:a spatial.read:b", READ, "a", True),
        ("spatial.read:", READ, "zones", False),
        ("openid profile spatial.reads spatial", READ, "zones", False),
        ("SPATIAL.READ", READ, "zones", False),
    ],
)
def test_grants_cover_layers_by_their_names(words: str, scope: Scope, layer: str, covered: bool) -> None:
    assert Grants.of(words.split()).cover(scope, layer) is covered


@pytest.mark.parametrize(
    ("words", "scopes"),
    [
        ("", set()),
        ("spatial.read:nothing", {READ}),
        ("spatial.write", {WRITE}),
        ("spatial.admin:a", {READ, WRITE, ADMIN}),
    ],
)
def test_an_rpc_is_open_to_whoever_has_its_scope_for_any_layer(words: str, scopes: set[Scope]) -> None:
    grants = Grants.of(words.split())
    assert {scope for scope in Scope if grants.has(scope)} == scopes
    assert bool(grants) == bool(scopes)


def test_a_pattern_that_is_meant_to_take_long_does_not() -> None:
    grants = Grants.of([f"spatial.read:{'*a' * 60}b"])
    assert not grants.cover(READ, "a" * 200)


@contextmanager
def call(scope: Scope, *words: str) -> Iterator[None]:
    """In the context of a call that needs `scope`."""
    before = ACCESS.set(Access(Grants.of(words), scope))
    try:
        yield
    finally:
        ACCESS.reset(before)


class TestCatalog:
    @pytest.fixture
    def catalog(self) -> Catalog:
        return Catalog(shipped_layers(), guarded=True)

    def test_a_layer_that_is_not_covered_is_refused_whether_or_not_there_is_one(self, catalog: Catalog) -> None:
        for name in ("parcels", "rivers"):
            with call(READ, "spatial.read:zone*"), pytest.raises(PermissionDenied) as refused:
                catalog[name]
            assert refused.value.reason is Reason.LAYER_NOT_ALLOWED
            assert refused.value.metadata == {"layer": name, "scope": f"spatial.read:{name}"}
        with call(READ, "spatial.read:zone*"):
            assert [layer.name for layer in catalog] == ["zone_centroids", "zones"]
            with pytest.raises(NotFound):
                catalog["zone_of_nobody"]

    def test_what_a_change_only_reads_needs_reading_alone(self, catalog: Catalog) -> None:
        with call(WRITE, "spatial.write:parcels", "spatial.read:zones"):
            assert (catalog["parcels"].name, catalog.readable("zones").name) == ("parcels", "zones")
            with pytest.raises(PermissionDenied):
                catalog["zones"]
            with pytest.raises(PermissionDenied):
                catalog.readable("parcels")

    def test_in_nobody_s_name_no_name_becomes_a_layer(self, catalog: Catalog) -> None:
        assert ACCESS.get() is None
        with pytest.raises(InternalError):
            catalog["zones"]
        with pytest.raises(InternalError):
            catalog.readable("zones")

    def test_who_has_begun_with_a_layer_goes_on_with_it(self, catalog: Catalog) -> None:
        assert catalog.at("zones", 0).name == "zones"
        assert len(list(catalog)) == 5

    def test_a_server_without_authentication_asks_nobody(self) -> None:
        assert Catalog(shipped_layers())["zones"].name == "zones"
