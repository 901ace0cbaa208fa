"""Twin files of earlier formats, in the words of the present one."""

from visioncore.config import AsWritten


def from_format_1(contents: AsWritten) -> AsWritten:
    """The header of format 2 (2026-11) for one of format 1, where one description and one set of constants served all
    sessions: each is given them.
    """
    old, constants = contents["data"], dict(contents["normalisation"])
    scales = constants.pop("count_scale", [])
    geometry = {key: old.get(key) for key in ("degrees_per_pixel", "centre_deg")}
    sessions = [
        {
            **session,
            "response_kind": old["response_kind"],
            "behaviour_names": old.get("behaviour_names", []),
            "geometry": geometry,
            "constants": {**constants, "count_scale": scales[place] if scales else []},
        }
        for place, session in enumerate(old["sessions"])
    ]
    sampling = {key: old[key] for key in ("channels", "height", "width")}
    return {
        **{key: value for key, value in contents.items() if key != "normalisation"},
        "format_version": 2,
        "data": {"sampling": {**sampling, "rate_hz": old["sampling_rate_hz"]}, "sessions": sessions},
    }
