"""The widgets: Python holds the state, the page draws it and sends commands. They contain no logic of the library."""
