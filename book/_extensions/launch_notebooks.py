"""The launch button, where the configuration has one, is for notebooks: Colab opens no page in Markdown."""


def keep_for_notebooks(app, pagename, templatename, context, doctree):
    if not pagename.startswith("notebooks/"):
        buttons = context.get("header_buttons", [])
        context["header_buttons"] = [button for button in buttons if button.get("label") != "launch-buttons"]


def setup(app):
    app.connect("html-page-context", keep_for_notebooks, priority=502)  # after the theme's own
    return {"parallel_read_safe": True, "parallel_write_safe": True}
