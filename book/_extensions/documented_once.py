"""What a module defines is documented on that module's page, and not again where it is only passed on."""


def passed_on(app, what, name, item, skip, options):
    home, page = getattr(item, "__module__", None), app.env.temp_data.get("autodoc:module")
    return skip or (what == "module" and home != page and f"book/api/{home}" in app.env.found_docs) or None


def setup(app):
    app.setup_extension("sphinx.ext.autodoc")
    app.connect("autodoc-skip-member", passed_on)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
