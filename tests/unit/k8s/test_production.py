"""The overlay for production: its parts name one another by names, and its numbers go together."""

import json
import re
from typing import Any

import pytest
import yaml
from alembic.script import ScriptDirectory

from service import migrations
from service.security.exposure import authenticates
from service.settings import Settings
from tests.manifests import K8S, Manifest, Rendered, at, selects

HOST = re.compile(r"postgresql://spatial_pod:\{\{[^}]*\}\}@([\w-]+)(\{\{ \$number \}\})?:5432/spatial\?([^{\s]*)")


@pytest.fixture(scope="module")
def production() -> Rendered:
    return Rendered("overlays/production")


@pytest.fixture
def cluster(production: Rendered) -> Manifest:
    return production("Cluster", "spatial-postgres")


@pytest.fixture
def number(production: Rendered) -> dict[str, int]:
    return {name: int(value) for name, value in production.settings.items() if value.isdecimal()}


def pod_of(production: Rendered, kind: str, name: str) -> Manifest:
    pod: Manifest = production(kind, name)["spec"]["template"]
    return pod


def templates(production: Rendered) -> dict[str, str]:
    data: dict[str, str] = at(production("ExternalSecret", "spatial-database"), "spec.target.template.data")
    return data


def test_it_serves_over_tls_those_who_say_who_they_are(production: Rendered, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in production.settings.items():
        monkeypatch.setenv(name, value)
    settings = Settings()
    assert authenticates(settings)
    assert not settings.insecure
    mounted = {each["mountPath"] for each in production.server["volumeMounts"]}
    files = (settings.tls_certificate, settings.tls_key, settings.tokens_file)
    assert {str(file).rpartition("/")[0] for file in files} <= mounted
    assert at(production("Service"), "spec.ports.0.appProtocol") == "https"


def test_every_secret_that_a_pod_asks_for_is_made_by_somebody_with_that_key(production: Rendered) -> None:
    cluster = production("Cluster", "spatial-postgres")["metadata"]["name"]
    made: dict[str, set[str]] = {
        f"{cluster}-app": {"uri"},
        f"{cluster}-ca": {"ca.crt"},
        at(production("Certificate"), "spec.secretName"): {"tls.crt", "tls.key"},
    }
    for each in production.of("ExternalSecret"):
        fetched = {entry["secretKey"] for entry in each["spec"]["data"]}
        made[at(each, "spec.target.name")] = set(at(each, "spec.target.template.data") or fetched)
    assert {(secret, key) for secret, key in asked_for(production) if key not in made.get(secret, ())} == set()
    assert at(production("Cluster", "spatial-postgres"), "spec.managed.roles.0.passwordSecret.name") in made


def asked_for(production: Rendered) -> set[tuple[str, str]]:
    asked = set()
    for pod in (pod_of(production, "Deployment", "spatial-service"), pod_of(production, "Job", "spatial-migrate")):
        references = [at(each, "valueFrom.secretKeyRef") for each in pod["spec"]["containers"][0]["env"]]
        asked |= {(each["name"], each["key"]) for each in references}
        secrets = [each["secret"] for each in pod["spec"]["volumes"] if "secret" in each]
        asked |= {(each["secretName"], item["key"]) for each in secrets for item in each.get("items", [])}
    files = {"spatial-service-tls": ("tls.crt", "tls.key"), "spatial-callers": ("callers.yaml",)}
    return asked | {(secret, key) for secret, keys in files.items() for key in keys}


def test_the_service_writes_through_the_pooler_and_the_migration_as_the_owner_past_it(production: Rendered) -> None:
    assert (
        production.settings["SPATIAL_POOLER"] == production("Pooler", "spatial-pooler")["spec"]["pgbouncer"]["poolMode"]
    )
    ((host, _, parameters),) = HOST.findall(templates(production)["SPATIAL_DATABASE_URL"])
    assert host == "spatial-pooler"
    assert parameters == "sslmode=verify-full&sslrootcert=/etc/spatial/postgres/ca.crt"
    (variable,) = at(pod_of(production, "Job", "spatial-migrate"), "spec.containers.0.env")
    assert variable["valueFrom"]["secretKeyRef"] == {"name": "spatial-postgres-app", "key": "uri"}


def test_each_instance_has_an_address_of_its_own_that_its_certificate_names(
    production: Rendered, cluster: Manifest
) -> None:
    template = templates(production)["SPATIAL_REPLICA_URLS"]
    ((prefix, per_number, parameters),) = HOST.findall(template)
    assert per_number
    assert parameters.startswith("sslmode=verify-full&")
    numbers = re.findall(r"\d", template.partition("list")[2].partition("-}}")[0])
    hosts = [prefix + number for number in numbers]
    assert len(hosts) == cluster["spec"]["instances"]
    for host in hosts:
        expected = {"cnpg.io/cluster": "spatial-postgres", "cnpg.io/instanceName": host}
        assert at(production("Service", host), "spec.selector") == expected
    assert cluster["spec"]["certificates"]["serverAltDNSNames"] == ["spatial-pooler", *hosts]


def test_the_certificate_is_for_every_name_of_the_service(production: Rendered) -> None:
    name, namespace = (production("Service")["metadata"][key] for key in ("name", "namespace"))
    tails = ("", f".{namespace}", f".{namespace}.svc", f".{namespace}.svc.cluster.local")
    assert production("Certificate")["spec"]["dnsNames"] == [name + tail for tail in tails]


def test_the_roles_that_the_migrations_grant_to_are_there_before_the_first_of_them(cluster: Manifest) -> None:
    script = ScriptDirectory.from_config(migrations._config()).get_revision("0003")
    assert script is not None
    made = [f"CREATE ROLE {role} NOLOGIN" for role in script.module.TABLES]
    assert at(cluster, "spec.bootstrap.initdb.postInitSQL") == made
    (role,) = at(cluster, "spec.managed.roles")
    assert (role["name"], role["login"], role["inRoles"]) == ("spatial_pod", True, [script.module.WRITER])


def test_a_change_that_was_answered_is_on_two_machines(cluster: Manifest) -> None:
    assert at(cluster, "spec.postgresql.synchronous") == {"method": "any", "number": 1}
    assert cluster["spec"]["instances"] >= 3, "one more than needed, so that losing one stops no writes"


def test_the_connections_of_every_pod_there_may_be_fit(
    production: Rendered, cluster: Manifest, number: dict[str, int]
) -> None:
    pods = number["SPATIAL_EXPECTED_REPLICAS"]
    reads, watching = number["SPATIAL_POOL_SIZE"] + number["SPATIAL_BULK_POOL_SIZE"], 2
    most = int(at(cluster, "spec.postgresql.parameters.max_connections")) - 10  # reserved, and the operator's
    pooler = production("Pooler", "spatial-pooler")["spec"]
    clients, lent = (int(pooler["pgbouncer"]["parameters"][key]) for key in ("max_client_conn", "default_pool_size"))
    assert pods * (reads + watching) <= most, "at a replica"
    assert pods * (reads + number["SPATIAL_WRITE_POOL_SIZE"] + watching) <= clients, "at the last pooler that is left"
    migration = 1
    assert pooler["instances"] * lent + migration <= most, "at the primary"


def test_the_autoscaler_alone_says_how_many_pods_there_are(production: Rendered, number: dict[str, int]) -> None:
    scaler, deployment = production("HorizontalPodAutoscaler")["spec"], production("Deployment")
    assert scaler["scaleTargetRef"] == {key: deployment[key] for key in ("apiVersion", "kind")} | {
        "name": deployment["metadata"]["name"]
    }
    assert "replicas" not in deployment["spec"]
    surge = at(deployment, "spec.strategy.rollingUpdate.maxSurge")
    assert number["SPATIAL_EXPECTED_REPLICAS"] == scaler["maxReplicas"] + surge
    assert scaler["minReplicas"] >= 3, "one for each zone"
    assert production.server["resources"]["requests"]["cpu"] == "1", "what utilisation is measured against"


def test_the_servers_are_spread_over_zones_and_machines(production: Rendered) -> None:
    pod = pod_of(production, "Deployment", "spatial-service")
    constraints = pod["spec"]["topologySpreadConstraints"]
    keys = [each["topologyKey"] for each in constraints]
    assert keys == ["topology.kubernetes.io/zone", "kubernetes.io/hostname"]
    assert all(selects(each["labelSelector"]["matchLabels"], pod) for each in constraints)


def peers(production: Rendered, policy: str, direction: str) -> list[tuple[list[Any], list[Any]]]:
    """The selectors of each rule, and its ports."""
    side = "from" if direction == "ingress" else "to"
    rules = production("NetworkPolicy", policy)["spec"][direction]
    return [(rule[side], [port["port"] for port in rule["ports"]]) for rule in rules]


def test_only_labelled_namespaces_call_and_only_monitoring_scrapes(production: Rendered) -> None:
    policy = production("NetworkPolicy")["spec"]
    for kind, name in (("Deployment", "spatial-service"), ("Job", "spatial-migrate")):
        assert selects(policy["podSelector"]["matchLabels"], pod_of(production, kind, name))
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert peers(production, "spatial-service", "ingress") == [
        ([{"namespaceSelector": {"matchLabels": {"spatial-service/client": "true"}}}], ["grpc"]),
        ([{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}], ["metrics"]),
    ]
    assert {"grpc", "metrics"} <= {port["name"] for port in production.server["ports"]}


def test_the_service_reaches_names_its_database_and_the_issuer_and_nothing_inside(production: Rendered) -> None:
    (_, name_ports), (databases, database_ports) = peers(production, "spatial-service", "egress")
    assert (name_ports, database_ports) == ([53, 53], [5432])
    names = {"cnpg.io/cluster": "spatial-postgres"}, {"cnpg.io/poolerName": "spatial-pooler"}
    assert databases == [{"podSelector": {"matchLabels": each}} for each in names]
    ((blocks, ports),) = peers(production, "spatial-service-issuer", "egress")
    assert ports == [443]
    assert {"10.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16"} <= set(blocks[0]["ipBlock"]["except"])
    assert not selects(
        at(production("NetworkPolicy", "spatial-service-issuer"), "spec.podSelector.matchLabels"),
        pod_of(production, "Job", "spatial-migrate"),
    )


@pytest.mark.parametrize("name", ["spatial-postgres", "spatial-pooler"])
def test_the_database_lets_the_service_in(production: Rendered, name: str) -> None:
    (callers, ports), *_ = peers(production, name, "ingress")
    assert ports == [5432]
    selectors = [each["podSelector"]["matchLabels"] for each in callers]
    assert any(selects(each, pod_of(production, "Deployment", "spatial-service")) for each in selectors)


def test_prometheus_scrapes_the_servers_and_has_the_rules_and_grafana_the_dashboard(production: Rendered) -> None:
    monitor = production("PodMonitor")["spec"]
    assert selects(monitor["selector"]["matchLabels"], pod_of(production, "Deployment", "spatial-service"))
    assert not selects(monitor["selector"]["matchLabels"], pod_of(production, "Job", "spatial-migrate"))
    assert [each["port"] for each in monitor["podMetricsEndpoints"]] == ["metrics"]

    written = yaml.safe_load((K8S / "alerts" / "prometheus-rule.yaml").read_text())
    assert production("PrometheusRule")["spec"] == written["spec"]

    dashboard = production("ConfigMap", "spatial-service-dashboard")
    assert dashboard["metadata"]["labels"]["grafana_dashboard"] == "1"
    ((_, text),) = dashboard["data"].items()
    assert json.loads(text) == json.loads((K8S / "dashboards" / "spatial-service.json").read_text())
