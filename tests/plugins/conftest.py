from fake_site import reward_source, site

__all__ = ["reward_source", "site"]
