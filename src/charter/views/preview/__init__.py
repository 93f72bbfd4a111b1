"""Live previews of a constitution: a handful of prompts through the stages, again after every save."""
