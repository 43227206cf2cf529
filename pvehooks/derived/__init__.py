"""Pure views of facts that rules, actions and the command line share.

What a rule needs only once it has found something, it uses as `derived.NAME`, which imports it then: each start of a guest pays for imports.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pvehooks.derived import absent_mdevs as absent_mdevs
    from pvehooks.derived import absent_vfs as absent_vfs
    from pvehooks.derived import accepted as accepted
    from pvehooks.derived import disks as disks
    from pvehooks.derived import firmware_fit as firmware_fit
    from pvehooks.derived import following as following
    from pvehooks.derived import health as health
    from pvehooks.derived import iommu_switch as iommu_switch
    from pvehooks.derived import remedies as remedies
    from pvehooks.derived import unbinding as unbinding
else:
    _WHEN_USED = (
        "absent_mdevs",
        "absent_vfs",
        "accepted",
        "disks",
        "firmware_fit",
        "following",
        "health",
        "iommu_switch",
        "remedies",
        "unbinding",
    )

    def __getattr__(name):
        if name not in _WHEN_USED:
            raise AttributeError(f"{__name__} has no {name}")
        return __import__(f"{__name__}.{name}", None, None, (name,))
