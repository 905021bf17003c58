"""How each block of each page is played: below each heading, in the order of the page.

A new block needs a line here. `Run` it, hold what it prints against what is shown (`Session`), check it (`Config`, `Body`,
`Drawing`), `Play` a function; or say why it is not run here and which test does it (`Elsewhere`).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from recipes.classify.classes import read_classes as kinds
from recipes.od_seg.classes import read_classes as things
from tests.manual import cameras, checks, desk, keys, models, stories
from tests.manual.ways import Body, Config, Drawing, Elsewhere, Page, Play, Run, Same, Session, Untried

BOX = "it changes a whole system, as root: played in the camera in a box"
SMOKE = "tests/camera/test_smoke.py::test_the_package_brings_everything_and_starts_nothing"
FIRST_PUSH = "tests/camera/test_smoke.py::test_with_no_root_and_an_empty_state_it_is_active_at_once_and_a_push_makes_it_detect"
SERVICE = Elsewhere(
    BOX,
    (SMOKE, FIRST_PUSH),
    (
        "make deb ARCH=arm64",
        "sudo apt install ./dist/camagent_0.1.0_arm64.deb",
        "sudoedit /etc/camagent/camagent.toml",
        "sudo camagent trust install root.json",
        "sudo systemctl start camagent",
        "sudo camagent service status",
    ),
)
_PUBLISH = "--root root.json --key keys/release.pem --online-key keys/online.pem"
PUBLISHED = (
    "camagent key generate --out keys/root",
    "camagent key generate --out keys/release",
    "camagent key generate --out keys/online",
    "camagent trust init --root-key keys/root.pem --signer keys/release.pub.pem --online-key keys/online.pub.pem -o root.json",
    f"camagent bundle publish site fastestdet-1.0.0.cambundle {_PUBLISH}",
    f"camagent bundle publish site fastestdet-1.1.0.cambundle {_PUBLISH}",
    f"camagent bundle publish site --remove fastestdet 1.0.0 {_PUBLISH}",
)
NGINX = "tests/tuf/test_nginx.py::"  # reads the page
BEHIND_A_CACHE = Elsewhere(
    "nginx is there", (f"{NGINX}test_behind_a_cache_every_look_is_a_sound_one_and_a_bundle_leaves_the_origin_once",)
)
README = Same("README.md")
DRAWN = (Drawing(),)


def quantized(name: str, create: str, before: tuple[str, ...] = (), after: tuple[str, ...] = ()) -> Elsewhere:
    convert = f"camagent model convert {name}.onnx --from {name}.cambundle --target rk3568 --quantize int8 --calibration"
    others = "normal.rknnsim kl_divergence.rknnsim int8.onnx"
    return Elsewhere(
        "it needs Rockchip's converter, 1.5 GB; `python -m bench.quantization` runs these commands and writes the page",
        (
            "tests/test_real_rknn_toolkit.py::test_int8_faces_through_infer_lie_within_the_stated_distance",
            "tests/test_model_compare.py::test_through_the_simulator_side_by_side",
        ),
        (
            *before,
            f"camagent bundle create {name}.onnx --version 1.0.0 {create} -o {name}.cambundle",
            f"{convert} calibration/ --algorithm normal -o normal.rknn --simulator normal.rknnsim",
            f"{convert} calibration/ --algorithm kl_divergence -o kl_divergence.rknn --simulator kl_divergence.rknnsim",
            f"camagent model compare {name}.cambundle {others} --images pictures/ --png {name}.png",
            *after,
        ),
    )


FACES = (
    "--name ultraface --head ultraface --labels face.txt --mean 127,127,127 --std 128,128,128 --resize stretch --min-score 0.7"
)
EIGHTY = "--name fastestdet --head fastestdet --labels coco80 --color bgr --scale 0.00392157 --resize stretch --min-score 0.65"
BOTH = (
    f"camagent bundle create fastestdet.onnx normal.rknnsim --version 1.1.0 {EIGHTY} -o both.cambundle",
    "camagent infer both.cambundle pictures/bus.jpg --backend onnx --out seen",
    "camagent infer both.cambundle pictures/bus.jpg --backend rknn-sim --out seen",
)
PADLESS = ("camagent model optimize FastestDet.onnx --passes fold-pad --rounds 0 -o fastestdet.onnx",)


def trained(test: str, *commands: str) -> Elsewhere:
    return Elsewhere("it needs torch", (f"tests/recipes/{test}",), commands)


WAYS: Mapping[str, Page] = {
    "README.md": Page(
        {
            "Try it": (Play(cameras.dry),),
            "Sign and push a bundle": (Run(), Play(cameras.from_keys_to_a_self_test)),
            "Subscribe": (Run(says=('"label":"car"',)),),
            "It sees nothing": (Run(says=("Healthy",)),),
            "Run it as a service": (SERVICE,),
        },
        desk.with_broker,
    ),
    "README.zh-CN.md": Page(
        {
            "试一试": (README,),
            "签名并推送模型包": (README, README),
            "订阅结果": (README,),
            "什么都没看到": (README,),
            "作为系统服务运行": (README,),
        }
    ),
    "docs/events.md": Page({"`<p>/<camera>/events`": (Body(),), "Counts": (Body(),)}),
    "docs/architecture.md": Page(
        {
            "Architecture": DRAWN,
            "An object's way": DRAWN,
            "A bundle's way": DRAWN,
            "A turn at the backend": DRAWN,
            "A watched thread": DRAWN,
            "A self-test's way": DRAWN,
            "Who looks at a camera": DRAWN,
            "In other people's words": DRAWN,
            "A profile's way": DRAWN,
            "A conversion's way": DRAWN,
        }
    ),
    "docs/bundles.md": Page(
        {
            "A bundle's life on the camera": DRAWN,
            "In": (Run(),),
            "Back": (Run(says=("1.1.0", "1.2.0")),),
            "What is told": (Body(),),
        },
        cameras.guarded,
    ),
    "docs/camera.md": Page(
        {
            "From a bare RK3568 board to detections": (Play(models.converted, full=15),),
            "Install it as a service": (
                Elsewhere(
                    BOX,
                    (
                        "tests/test_service_command.py::test_a_built_wheel_brings_every_file",
                        "tests/test_service_command.py::test_install_fills_an_image_and_uninstall_leaves_configuration_and_user",
                    ),
                    (
                        "sudo python3 -m venv /opt/camagent && sudo /opt/camagent/bin/pip install camagent-*.whl",
                        "sudo /opt/camagent/bin/camagent service install",
                    ),
                ),
                Elsewhere(
                    BOX,
                    (FIRST_PUSH,),
                    (
                        "sudo nano /etc/camagent/camagent.toml",
                        "/opt/camagent/bin/camagent config check",
                        "sudo /opt/camagent/bin/camagent trust install root.json",
                        "sudo systemctl start camagent",
                        "sudo /opt/camagent/bin/camagent service status",
                    ),
                ),
            ),
            "Secrets": (Play(cameras.secret), Config()),
            "A file for whoever helps": (Run(says=("support.tar",)),),
            "The camera in a box": (Play(cameras.dry),),
        },
        cameras.workbench,
    ),
    "docs/configuration.md": Page({"Configuration": (Config(),)}),
    "docs/first-run.md": Page(
        {
            "A bundle from a model": (Session(), Session(), Session(), Session()),
            "What it sees": (Session(), Session(full=30), Session(full=30), Session(), Session()),
            "The daemon": (
                Play(stories.configured),
                Session(),
                Play(stories.ran, full=30),
                Play(stories.watched, full=1),
                Play(stories.healthy, full=1),
            ),
            "What a frame costs": (Play(cameras.dry),),
        },
        models.recorded,
    ),
    "docs/fleet.md": Page(
        {
            "Who runs what, who is silent, who sees nothing": (
                Run({"mqtt://192.168.1.10": "mqtt://127.0.0.1:1883"}, says=("cam-01",)),
                Play(cameras.table),
            ),
            "One order for a group": (Config(), Play(cameras.permissions)),
            "Brokers": (
                Elsewhere(
                    "two brokers, one of them behind TLS",
                    ("tests/test_fleet_bridge.py::test_states_go_up_and_orders_come_down_and_detections_stay",),
                ),
                Untried("it needs Kafka Connect and Confluent's connector"),
            ),
        },
        cameras.detecting,
    ),
    "docs/hawkbit.md": Page({"Set up": (Config(),)}),
    "docs/home-assistant.md": Page(
        {
            "Set it up": (
                Config(),
                Elsewhere(
                    "a broker with this access list",
                    ("tests/test_integration_docs.py::test_the_access_list_that_is_shown_is_enough",),
                ),
            ),
            "An automation": (
                Elsewhere(
                    "it is Home Assistant's: its trigger is held against what we announce",
                    ("tests/test_integration_docs.py::test_the_automation_listens_to_a_state_that_there_is",),
                ),
            ),
        }
    ),
    "docs/http-api.md": Page({"Routes": (Play(cameras.asked), Play(cameras.uploaded))}, cameras.detecting),
    "docs/metrics.md": Page({"Metrics": (Play(checks.scraped), Play(checks.queries))}, checks.watched),
    "docs/onvif.md": Page(
        {
            "ONVIF Profile M over MQTT": (
                Config(),
                Elsewhere(
                    "made from these very numbers",
                    ("tests/test_integration_docs.py::test_the_metadata_frame_that_is_shown_is_what_is_sent",),
                ),
            )
        }
    ),
    "docs/several-cameras.md": Page({"Several cameras": (Config(),)}),
    "docs/tuf-repository.md": Page(
        {
            "Publishing": (
                Elsewhere(
                    "it needs two bundles of that name", ("tests/tuf/test_publish.py::test_the_manuals_commands",), PUBLISHED
                ),
                Elsewhere("a web server's folder is there", (f"{NGINX}test_by_the_manuals_lines_over_https",)),
                Elsewhere(
                    "it is cron's line",
                    (
                        "tests/tuf/test_publish.py::test_the_command_from_the_first_signature_to_cron",
                        "tests/tuf/test_publish.py::test_cron_does_not_wait_for_people",
                    ),
                ),
            ),
            "Serving": (
                Elsewhere("nginx is there", (f"{NGINX}test_by_the_manuals_lines_over_https",)),
                BEHIND_A_CACHE,
                BEHIND_A_CACHE,
            ),
            "On the camera": (
                Config(),
                Elsewhere(
                    "it needs a repository on a server",
                    ("tests/tuf/test_taking.py::test_the_newest_version_that_fits_is_taken",),
                    ("camagent bundle install fastestdet --repository https://updates.example.org/cameras/ -c camagent.toml",),
                ),
            ),
            "Held against others": (Untried("the suite is not on the package index"),),
        }
    ),
    "docs/models.md": Page(
        {"What is in it": (Session(),), "`--head auto`": (Play(checks.undecided),)},
        models.recorded,
    ),
    "docs/optimize.md": Page({"Making a graph faster": (Play(models.outline),)}, models.transformer),
    "docs/page.md": Page({"The page": (Run({"ssh ": "ssh -G "}, says=("localforward",)),)}),
    "docs/profile.md": Page(
        {
            "A SegFormer, as it is exported": (Play(models.outline),),
            "What was measured on the device": (Play(models.read_back),),
        },
        models.transformer,
    ),
    "docs/quantization.md": Page(
        {
            "Eight bits": (Play(models.converted),),
            "Faces: UltraFace": (quantized("ultraface", FACES),),
            "Eighty classes: FastestDet": (quantized("fastestdet", EIGHTY, PADLESS, BOTH),),
        }
    ),
    "docs/refusals.md": Page(
        {
            "Is this camagent's message, or your camera maker's?": (Play(checks.refused), Run(says=("accepted",))),
            "Which refusal speaks": (Play(checks.unsigned),),
        },
        cameras.shelf,
        codes=Play(checks.refused),
    ),
    "docs/refusals.zh-CN.md": Page(
        {
            "这是 camagent 的消息，还是摄像机厂商的？": (Play(checks.translated), Same("docs/refusals.md")),
            "由哪一种拒绝先说": (Play(checks.unsigned),),
        },
        cameras.shelf,
        codes=Play(checks.translated),
    ),
    "docs/remote-install.md": Page(
        {
            "Pushing": (Play(cameras.pushed),),
            "Ordering over MQTT": (Config(), Play(cameras.ordered)),
        },
        cameras.guarded,
    ),
    "docs/self-test.md": Page(
        {
            "A story, recorded": (
                Play(stories.silent, full=20),
                Play(stories.named, full=10),
                Play(stories.applied, full=30),
                Play(stories.created, full=1),
            )
        },
        models.recorded,
    ),
    "docs/signing.md": Page(
        {
            "A first key to a running bundle, in five commands": (Run(),),
            "Keys": (Run(before="rm -r keys"), Play(keys.with_a_token)),
            "Signing a bundle": (Run(before=keys.KEYS),),
            "Signing a folder or a file": (Run(before=keys.FOLDER),),
            "Checking a bundle without our software": (Play(keys.by_the_public_tool), Play(keys.by_hand)),
            "The trust root": (Run(before="rm root.json"),),
            "In Python": (Play(keys.in_python),),
        },
        cameras.workbench,
    ),
    "recipes/classify/README.md": Page(
        {
            "Use it as it is": (Run(says=("disposable box",)),),
            "Make it again": (
                trained(
                    "test_classify_training.py::test_a_smoke_run_goes_from_nothing_to_a_bundle",
                    "pip install -e '.[dev,train]'",
                    "python -m recipes.classify all --smoke -o work/",
                ),
            ),
            "With pictures of your own": (
                Play(partial(checks.classes, kinds)),
                trained("test_classify_manual.py::test_pictures_of_ones_own_go_the_way_that_is_shown"),
            ),
            "Three failures": (Play(checks.stray), Play(checks.counted), Play(checks.transferred), Play(checks.resumed)),
        }
    ),
    "recipes/od_seg/README.md": Page(
        {
            "Use it as it is": (Run(before="cp camagent/demo/files/street-day.jpg street.jpg", says=(" car (",)),),
            "Make it again": (
                trained(
                    "test_od_seg_training.py::test_a_smoke_run_goes_from_nothing_to_a_bundle",
                    "pip install -e '.[dev,train]'",
                    "python -m recipes.od_seg all --smoke -o work/",
                ),
            ),
            "With pictures of your own": (
                Play(partial(checks.classes, things)),
                trained("test_od_seg_manual.py::test_pictures_of_ones_own_go_the_way_that_is_shown"),
                trained("test_od_seg_manual.py::test_pictures_of_ones_own_go_the_way_that_is_shown"),
            ),
        }
    ),
}
