"""Drawing: elements and scales (`svg`), series over two axes (`xy`), pages and files (`page`), hostile text."""
