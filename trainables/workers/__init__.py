"""The code that worker processes run; drivers name it as `module:name`."""
